"""Magics, the panel and the channel to the JupyterLab side panel."""
