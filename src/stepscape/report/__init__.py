"""The report: a study as one page to read and explore, and an index of all studies.

A page is one file: it asks for nothing from anywhere, and its scripts are named by their hashes in its content policy,
so that nothing else in it can run. Texts of users (titles, labels, errors) are escaped. The templates, the style and
the scripts are in `page/`, in the order of the scripts' numbers.
"""
