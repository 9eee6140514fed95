"""Images from files to two augmented views, by DALI or by torchvision, under one contract."""
