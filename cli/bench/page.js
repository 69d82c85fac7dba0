"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const collator = new Intl.Collator("en", { numeric: true });

  // Sorting: a click on a heading sorts its column, a second click reverses the order. The sort is stable.
  const keyOf = (cell) => {
    if (!cell.hasAttribute("data-v")) return cell.textContent;
    return cell.dataset.v === "" ? null : Number(cell.dataset.v);
  };
  const compare = (a, b) => (typeof a === "number" ? a - b : collator.compare(a, b));
  const sort = (table, heading) => {
    const descending = heading.getAttribute("aria-sort") === "ascending";
    all("th[aria-sort]", table).forEach((each) => each.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [keyOf(row.cells[heading.cellIndex]), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null); // missing values come last in both orders
      return descending ? compare(b, a) : compare(a, b);
    });
    body.replaceChildren(...rows.map(([, row]) => row));
  };

  // Filters: every word must occur in the row, and each selected value must equal its cell.
  const filter = (sheet) => {
    const words = sheet.querySelector("input[type=search]").value.toLowerCase().split(/\s+/).filter(Boolean);
    const choices = all("select", sheet).filter((each) => each.value !== "").map((each) => [Number(each.dataset.column), each.value]);
    const rows = [...sheet.querySelector("tbody").rows];
    let count = 0;
    for (const row of rows) {
      row.words ??= [...row.cells].map((cell) => cell.textContent.toLowerCase()).join("\n");
      const matches = words.every((word) => row.words.includes(word)) && choices.every(([index, value]) => row.cells[index].textContent === value);
      row.hidden = !matches;
      count += matches;
    }
    sheet.querySelector("output").textContent = `${count} of ${rows.length} rows`;
  };

  // The visible rows as CSV, with unrounded numbers.
  const toCsv = (table) => {
    const quote = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
    const lines = [[...table.tHead.rows].at(-1), ...[...table.tBodies[0].rows].filter((row) => !row.hidden)];
    return lines.map((row) => [...row.cells].map((cell) => quote(cell.dataset.v ?? cell.dataset.name ?? cell.textContent)).join(",")).join("\r\n") + "\r\n";
  };
  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch { // no permission: use the deprecated API
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      return done;
    }
  };

  for (const sheet of all(".sheet")) {
    const table = sheet.querySelector("table");
    for (const heading of [...table.tHead.rows].at(-1).cells)
      heading.querySelector("button").addEventListener("click", () => sort(table, heading));
    for (const control of all("input[type=search], select", sheet)) control.addEventListener("input", () => filter(sheet));
    const button = sheet.querySelector(".copy");
    button.addEventListener("click", async () => {
      button.textContent = (await copy(toCsv(table))) ? "Copied" : "Could not copy";
      setTimeout(() => (button.textContent = "Copy as CSV"), 1500);
    });
    if (sheet.querySelector("input[type=search]")) filter(sheet); // browsers restore the input when the reader goes back
  }

  // The system's theme is the default. page.css sets all colours, including those of the plots.
  const theme = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const storage = { // browsers may refuse storage to local files
    get: () => { try { return localStorage.getItem("emodna-theme"); } catch { return null; } },
    set: (value) => { try { localStorage.setItem("emodna-theme", value); } catch { /* reloading resets the theme */ } },
  };
  const isDark = () => (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const showTheme = () => {
    theme.textContent = isDark() ? "Light" : "Dark";
    theme.setAttribute("aria-label", `Change to the ${isDark() ? "light" : "dark"} theme`);
  };
  if (["light", "dark"].includes(storage.get())) root.dataset.theme = storage.get();
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    storage.set(root.dataset.theme);
    showTheme();
  });
  system.addEventListener("change", showTheme);
  showTheme();
})();
