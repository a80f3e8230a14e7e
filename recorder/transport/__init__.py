"""The only files of the recorder that open sockets."""
