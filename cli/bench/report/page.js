"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const collator = new Intl.Collator("en", { numeric: true });

  // Tables: a click on a heading sorts by it, another one the other way round. Equal rows keep their order.
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
      if (a === null || b === null) return (a === null) - (b === null); // what is missing comes last either way
      return descending ? compare(b, a) : compare(a, b);
    });
    body.replaceChildren(...rows.map(([, row]) => row));
  };

  // Filters: every word must occur somewhere in the row, and what is chosen must be the whole cell.
  const filter = (sheet) => {
    const words = sheet.querySelector("input[type=search]").value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = all("select", sheet).filter((each) => each.value !== "").map((each) => [Number(each.dataset.column), each.value]);
    const rows = [...sheet.querySelector("tbody").rows];
    let shown = 0;
    for (const row of rows) {
      row.words ??= [...row.cells].map((cell) => cell.textContent.toLowerCase()).join("\n");
      const stays = words.every((word) => row.words.includes(word)) && chosen.every(([place, value]) => row.cells[place].textContent === value);
      row.hidden = !stays;
      shown += stays;
    }
    sheet.querySelector("output").textContent = `${shown} of ${rows.length} rows`;
  };

  // The rows that are shown, in their order, as CSV; numbers unrounded.
  const csv = (table) => {
    const quoted = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
    const lines = [[...table.tHead.rows].at(-1), ...[...table.tBodies[0].rows].filter((row) => !row.hidden)];
    return lines.map((row) => [...row.cells].map((cell) => quoted(cell.dataset.v ?? cell.dataset.name ?? cell.textContent)).join(",")).join("\r\n") + "\r\n";
  };
  const copy = async (words) => {
    try {
      await navigator.clipboard.writeText(words);
      return true;
    } catch { // not allowed here: the old way
      const area = document.createElement("textarea");
      area.value = words;
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
      button.textContent = (await copy(csv(table))) ? "Copied" : "Could not copy";
      setTimeout(() => (button.textContent = "Copy as CSV"), 1500);
    });
    if (sheet.querySelector("input[type=search]")) filter(sheet); // a browser that comes back keeps what was typed
  }

  // Plots: drawn when they come into sight, with the colours that page.css has for the theme at hand.
  const coarse = matchMedia("(pointer: coarse)").matches;
  const probe = document.createElement("span");
  probe.hidden = true;
  document.body.append(probe);
  let known = new Map();
  const colour = (name, opacity) => {
    if (!known.has(name)) {
      probe.style.color = `var(${name})`;
      known.set(name, getComputedStyle(probe).color);
    }
    const found = known.get(name);
    return opacity === undefined ? found : found.replace(/^rgb\((.*)\)$/, `rgba($1, ${opacity})`);
  };
  const themed = (value) => {
    if (typeof value === "string") {
      const match = value.match(/^var\((--[a-z0-9-]+)(?:, ([0-9.]+))?\)$/);
      return match ? colour(match[1], match[2]) : value;
    }
    if (Array.isArray(value)) return value.map(themed);
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, themed(each)]));
    return value;
  };
  const axis = { gridcolor: "var(--rule)", linecolor: "var(--muted)", zerolinecolor: "var(--rule)", tickfont: { color: "var(--ink)" } };
  const draw = (plot) => {
    plot.document ??= JSON.parse(plot.querySelector("script").textContent);
    plot.querySelector("script")?.remove();
    const { data, layout, height } = plot.document;
    const whole = {
      ...layout,
      height,
      autosize: true,
      uirevision: "kept", // zoom and what is hidden stay when the theme changes
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, sans-serif", size: 12, color: "var(--ink)" },
      margin: { l: 48, r: 12, t: 12, b: 40 },
      hovermode: "closest",
      dragmode: coarse ? false : "zoom", // a finger that scrolls must not zoom
      hoverlabel: { namelength: -1, align: "left", bgcolor: "var(--raised)", bordercolor: "var(--muted)", font: { color: "var(--ink)" } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: "var(--muted)", activecolor: "var(--ink)" },
      legend: { orientation: "h", yref: "container", y: 0, yanchor: "bottom", x: 0, font: { color: "var(--ink)" } },
      xaxis: { ...axis, ...layout.xaxis },
      yaxis: { ...axis, ...layout.yaxis },
    };
    return Plotly.react(plot, themed(data), themed(whole), {
      responsive: true,
      displaylogo: false,
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    }).then(() => plot.classList.add("drawn"));
  };

  const theme = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const kept = { // a browser may forbid pages that are files to keep anything
    get: () => { try { return localStorage.getItem("emodna-theme"); } catch { return null; } },
    set: (value) => { try { localStorage.setItem("emodna-theme", value); } catch { /* it is asked again */ } },
  };
  const isDark = () => (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const show = () => {
    known = new Map();
    theme.textContent = isDark() ? "Light" : "Dark";
    theme.setAttribute("aria-label", `Change to the ${isDark() ? "light" : "dark"} theme`);
    all(".plot.drawn").forEach(draw);
  };
  if (["light", "dark"].includes(kept.get())) root.dataset.theme = kept.get();
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    kept.set(root.dataset.theme);
    show();
  });
  system.addEventListener("change", show);

  // Printed are all plots, in the light theme.
  let before;
  addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    root.dataset.theme = "light";
    known = new Map();
    all(".plot").forEach(draw);
  });
  addEventListener("afterprint", () => {
    if (before === undefined) delete root.dataset.theme;
    else root.dataset.theme = before;
    show();
  });

  addEventListener("DOMContentLoaded", () => { // the script of the plots comes after this one
    show();
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries.filter((each) => each.isIntersecting)) {
        seen.unobserve(entry.target);
        draw(entry.target);
      }
    }, { rootMargin: "300px" });
    all(".plot").forEach((plot) => seen.observe(plot));
  });
})();
