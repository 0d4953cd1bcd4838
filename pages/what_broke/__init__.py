"""What broke: a recipe against its baseline by class, by confusion, in calibration, and image by image."""
