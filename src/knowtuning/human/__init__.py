"""People as judges: blinded sheets out, verdicts back in, and how far people agree.

items.py draws the questions and hides the systems, sheets.py and label_studio.py write and read the two
forms, verdicts.py joins the orders and the annotators, agreement.py has the kappas, summary.py the numbers.
"""
