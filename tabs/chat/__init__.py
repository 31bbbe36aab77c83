"""Tab 3: one question to several sides; the questions before and after."""
