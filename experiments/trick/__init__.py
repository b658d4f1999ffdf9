"""The reparametrisation trick as a page: draws that move, or stay and are re-weighted, and their gradients."""
