"""What chapters 31 to 33 measure, each a function of one configuration."""
