"""The reparametrisation trick as a page: draws that move, or stay and are re-weighted, and what their gradients say."""
