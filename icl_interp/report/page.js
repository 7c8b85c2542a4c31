(() => {
  "use strict";

  const root = document.documentElement;
  const all = (selector) => [...document.querySelectorAll(selector)];
  const CONFIG = { displayModeBar: false, displaylogo: false, responsive: true, scrollZoom: false, doubleClick: "reset" };
  const PRINT_WIDTH = 660;
  const COLOURS = {
    "font.color": "--muted", "legend.font.color": "--ink", "hoverlabel.bgcolor": "--panel",
    "hoverlabel.bordercolor": "--axis", "hoverlabel.font.color": "--ink",
  };
  const AXIS_COLOURS = { gridcolor: "--grid", linecolor: "--axis", tickcolor: "--axis", zerolinecolor: "--axis" };
  const painted = new Map(); // drawn plot -> {layout path: CSS variable}

  // Colours ---------------------------------------------------------------------------------------------------------

  function colourPaths(layout) {
    const paths = { ...COLOURS };
    for (const axis of Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key)))
      for (const [name, variable] of Object.entries(AXIS_COLOURS)) paths[`${axis}.${name}`] = variable;
    (layout.annotations || []).forEach((note, i) => {
      if (!(note.font && note.font.color)) paths[`annotations[${i}].font.color`] = "--muted";
      if (!note.arrowcolor) paths[`annotations[${i}].arrowcolor`] = "--muted";
    });
    (layout.shapes || []).forEach((shape, i) => {
      if (!(shape.line && shape.line.color)) paths[`shapes[${i}].line.color`] = "--muted";
    });
    return paths;
  }

  function resolve(paths) {
    const style = getComputedStyle(root);
    const update = { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)" };
    for (const [path, variable] of Object.entries(paths)) update[path] = style.getPropertyValue(variable).trim();
    return update;
  }

  function assign(target, path, value) {
    const keys = path.match(/[^.[\]]+/g);
    const last = keys.pop();
    for (const key of keys) target = target[key] ??= {};
    target[last] = value;
  }

  function repaint() {
    for (const [plot, paths] of painted) Plotly.relayout(plot, resolve(paths));
  }

  // Drawing ---------------------------------------------------------------------------------------------------------

  function legendRows(spec, width) {
    if (spec.layout.showlegend === false) return 0;
    const widths = spec.data.filter((t) => t.showlegend !== false && t.name).map((t) => String(t.name).length * 6.6 + 60);
    if (widths.reduce((sum, w) => sum + w, 0) <= width) return Math.min(1, widths.length);
    return Math.ceil(widths.length / Math.max(1, Math.floor(width / Math.max(...widths)))); // rows align in columns
  }

  function titleAboveAxis(layout) {
    const axis = layout.yaxis;
    const text = axis && axis.title && (axis.title.text ?? axis.title);
    if (!text || typeof text !== "string" || Object.keys(layout).some((key) => /^yaxis\d+$/.test(key))) return false;
    delete axis.title;
    (layout.annotations ??= []).push({
      text, xref: "paper", x: 0, xanchor: "left", yref: "paper", y: 1, yanchor: "bottom", yshift: 7,
      showarrow: false, align: "left", font: { size: 12 },
    });
    return true;
  }

  function prepare(plot) {
    const spec = JSON.parse(document.getElementById(plot.dataset.source).textContent);
    const layout = (spec.layout ??= {});
    delete layout.title;
    delete layout.width;
    delete layout.height;
    layout.autosize = true;
    layout.xaxis ??= {};
    layout.yaxis ??= {};
    if (plot.closest(".grid")) layout.showlegend = false; // the grid has one of its own
    const free = !(layout.annotations || []).length && Object.keys(layout).every((key) => !/^[xy]axis\d+$/.test(key));
    if (!titleAboveAxis(layout) && free) assign(layout, "margin.t", 10);
    const paths = colourPaths(layout);
    for (const [path, value] of Object.entries(resolve(paths))) assign(layout, path, value);
    const width = plot.clientWidth;
    assign(layout, "font.size", width < 480 ? 11.5 : 13);
    if (matchMedia("(pointer: coarse)").matches) layout.dragmode = false; // a finger scrolls the page
    plot.style.height = `${Number(plot.dataset.height) + 20 * Math.max(0, legendRows(spec, width) - 1)}px`;
    return { spec, paths };
  }

  function draw(plot) {
    if (painted.has(plot) || plot.classList.contains("failed")) return;
    if (typeof Plotly === "undefined") {
      plot.classList.add("failed");
      plot.textContent = "plotly.js could not be loaded, so this figure is not drawn. Its numbers are in the table below.";
      return;
    }
    const { spec, paths } = prepare(plot);
    painted.set(plot, paths);
    Plotly.newPlot(plot, spec.data, spec.layout, CONFIG);
  }

  function drawWhenNear(plots) {
    if (!("IntersectionObserver" in window)) return plots.forEach(draw);
    const observer = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        observer.unobserve(entry.target);
        draw(entry.target);
      }
    }, { rootMargin: "800px 0px" });
    plots.forEach((plot) => observer.observe(plot));
  }

  function redrawWhenUnfolded() {
    // A figure that was drawn, folded away and unfolded again may have missed a change of the window's width.
    document.addEventListener("toggle", (event) => {
      if (!event.target.matches("details.fold") || !event.target.open) return;
      for (const plot of event.target.querySelectorAll(".plot"))
        if (painted.has(plot) && plot.clientWidth) Plotly.Plots.resize(plot);
    }, true); // toggle does not bubble
  }

  // Theme and printing ----------------------------------------------------------------------------------------------

  function setTheme(theme) {
    if (theme === "auto") delete root.dataset.theme;
    else root.dataset.theme = theme;
    repaint();
  }

  function startTheme() {
    const button = document.getElementById("page--theme");
    const order = ["auto", "light", "dark"];
    const show = () => { button.textContent = `Theme: ${root.dataset.theme || "auto"}`; };
    button.hidden = false;
    show();
    button.addEventListener("click", () => {
      const theme = order[(order.indexOf(root.dataset.theme || "auto") + 1) % order.length];
      setTheme(theme);
      show();
      try { localStorage.setItem("report-theme", theme); } catch { /* storage may be forbidden */ }
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  }

  function startPrinting(plots) {
    let before = "auto";
    let opened = [];
    addEventListener("beforeprint", () => {
      before = root.dataset.theme || "auto";
      opened = all("details.fold:not([open])");
      opened.forEach((fold) => { fold.open = true; });
      plots.forEach(draw);
      setTheme("light");
      for (const plot of painted.keys()) Plotly.relayout(plot, { width: plot.closest(".grid") ? PRINT_WIDTH / 2 - 12 : PRINT_WIDTH });
    });
    addEventListener("afterprint", () => {
      opened.forEach((fold) => { fold.open = false; });
      for (const plot of painted.keys()) Plotly.relayout(plot, { width: null, autosize: true });
      setTheme(before);
    });
  }

  // Contents and downloads ------------------------------------------------------------------------------------------

  function startContents() {
    const fold = document.getElementById("page--toc");
    const wide = matchMedia("(min-width: 77rem)");
    const follow = () => { fold.open = wide.matches; };
    wide.addEventListener("change", follow);
    follow();
    const links = new Map(all(".toc a").map((link) => [document.getElementById(link.hash.slice(1)), link]));
    const mark = () => {
      const passed = [...links.keys()].filter((target) => target && target.getBoundingClientRect().top < innerHeight * 0.4);
      for (const link of links.values()) link.removeAttribute("aria-current");
      if (passed.length) links.get(passed[passed.length - 1]).setAttribute("aria-current", "true");
    };
    addEventListener("scroll", mark, { passive: true });
    mark();
    const unfold = () => {
      const target = document.getElementById(location.hash.slice(1));
      if (!target) return;
      let closed = 0;
      for (let node = target; node; node = node.parentElement) {
        const fold = node.matches("details") ? node : node.querySelector(":scope > details.fold");
        if (!fold || fold.open || !(fold === node || node.matches(".folded"))) continue;
        fold.open = true;
        closed += 1;
      }
      if (closed) target.scrollIntoView(); // it had no place before
    };
    addEventListener("hashchange", unfold);
    unfold();
  }

  function csv(table) {
    const quote = (value) => (/[",\n\r]/.test(value) ? `"${value.replace(/"/g, '""')}"` : value);
    const rows = [...table.rows].map((row) => [...row.cells].map((cell) => cell.dataset.v ?? cell.textContent));
    const rest = table.parentElement.querySelector("script.rest");
    if (rest) rows.push(...JSON.parse(rest.textContent).map((row) => row.map((value) => String(value ?? ""))));
    return rows.map((row) => row.map(quote).join(",")).join("\r\n") + "\r\n";
  }

  function saveText(text, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-csv], [data-svg]");
    if (!button) return;
    const holder = button.closest(".figure, .table");
    const table = holder.querySelector("table");
    if ("csv" in button.dataset) saveText(csv(table), `${table.dataset.name}.csv`);
    else Plotly.downloadImage(holder.querySelector(".plot"), { format: "svg", filename: holder.id });
  });

  const plots = all(".plot");
  startTheme();
  startContents();
  startPrinting(plots);
  drawWhenNear(plots);
  redrawWhenUnfolded();
})();
