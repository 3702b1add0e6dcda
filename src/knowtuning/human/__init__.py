"""People as judges: blinded sheets out, verdicts back in, and how far people agree.

items.py draws the questions and hides the systems, forms.py writes and reads sheets and Label Studio's tasks,
verdicts.py joins the orders and the annotators, agreement.py has the numbers.
"""
