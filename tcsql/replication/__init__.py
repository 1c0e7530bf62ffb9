"""Following MySQL: sources that tell what has changed, and the follower that applies it through the write door."""
