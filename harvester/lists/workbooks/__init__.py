"""Workbooks of spreadsheet programs. What is made of a sheet's rows is the business of the room above."""

from harvester.lists.workbooks.sheet import is_workbook, workbook_lines

__all__ = ["is_workbook", "workbook_lines"]
