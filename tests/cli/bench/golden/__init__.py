"""What emodna-bench prints as JSON, frozen: folders of plain files, and what each command said of them."""
