"""Model + questions → answers, scored and compared; the lower modules serve training too."""
