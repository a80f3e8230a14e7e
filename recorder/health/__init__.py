"""Whether the recorder is well: readiness, status, metrics, and the app that shows them."""
