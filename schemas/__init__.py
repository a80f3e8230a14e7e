"""What a row and a wire message are: pure, imported by recorder and replay, importing neither."""
