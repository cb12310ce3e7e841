"""The files of the trained model; `stocha.lm.pretrained` reads and writes them."""
