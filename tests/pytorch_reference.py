"""The numbers of tests/stored/pytorch_elbo.npz: the peer's log-densities at known weights, data and noise.

Run `python tests/pytorch_reference.py` (with the extra `pytorch`) to make the file again.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributions as td

sys.path.insert(0, str(Path(__file__).parent.parent))
from experiments.peers.pytorch import VAE, BernoulliDecoder, GaussianEncoder, GaussianPrior, mlp_nets


def reference(seed: int, latent_dim: int = 4, hidden_dim: int = 24, b: int = 5) -> dict[str, np.ndarray]:
    """Return weights, data [b, 8, 8], noise [b, m], and the log-densities that PyTorch's distributions compute."""
    torch.manual_seed(seed)
    encoder, decoder = mlp_nets(latent_dim, (hidden_dim,) * 2, (8, 8))
    model = VAE(GaussianPrior(latent_dim), BernoulliDecoder(decoder), GaussianEncoder(encoder))
    x = (torch.rand(b, 8, 8) < 0.3).float()
    noise = torch.randn(b, latent_dim)
    with torch.no_grad():
        q, p = model.encoder(x), model.prior()
        z = q.base_dist.loc + q.base_dist.scale * noise
        densities = {
            "log_px_z": model.decoder(z).log_prob(x),
            "log_pz": p.log_prob(z),
            "log_qz_x": q.log_prob(z),
            "kl": td.kl_divergence(q, p),
        }
        densities["elbo"] = torch.mean(densities["log_px_z"] - densities["kl"])
    weights = {}
    for part in ("encoder", "decoder"):
        linear = [layer for layer in getattr(getattr(model, part), f"{part}_net") if isinstance(layer, torch.nn.Linear)]
        for i, layer in enumerate(linear):
            weights |= {f"{part}_{i}_weight": layer.weight.detach(), f"{part}_{i}_bias": layer.bias.detach()}
    tensors = {"x": x, "noise": noise, **weights, **densities}
    sizes = {"latent_dim": np.array(latent_dim), "hidden_dim": np.array(hidden_dim)}
    return {name: tensor.numpy() for name, tensor in tensors.items()} | sizes


if __name__ == "__main__":
    np.savez(Path(__file__).parent / "stored" / "pytorch_elbo.npz", **reference(seed=0))
