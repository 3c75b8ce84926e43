"""The local annotation page: people decide in a browser which queued queries become eval cases."""
