"""The recorder whole, against twins of network, clock and disk: one seed is one run, repeatable."""
