"""The report of a run: the findings, plots of them, the page, the text and the mail.

Names and addresses are masked in everything that is written here.
"""
