"""Tab 2: settings → will it learn? → Start → the curve, and all the runs there have been."""
