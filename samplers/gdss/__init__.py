"""Score-based generation of graphs by a system of SDEs (GDSS, Jo et al. 2022)."""
