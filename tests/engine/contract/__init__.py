"""The promises of `engines.base.Engine`, which every adapter keeps on its real engine."""
