"""What LoFiT's figures and appendices show beside scores: overlap, layers and transfer of heads, the logit lens."""
