"""The page: a folder for each tab, what they share (`ui`) and what stands around them (`server`).

Widgets → one pipeline call → widgets. Nothing here knows torch: what needs a model imports it when a model is first asked.
What is shown is read from the dataset and run folders, so that a reload or a second window shows the same.
"""
