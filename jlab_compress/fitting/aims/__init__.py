"""Ways to choose and fit few neurons for one wide layer."""
