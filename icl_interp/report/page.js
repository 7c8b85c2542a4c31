(() => {
  "use strict";

  const root = document.documentElement;
  const all = (selector) => [...document.querySelectorAll(selector)];
  const CONFIG = { displayModeBar: false, displaylogo: false, responsive: true, scrollZoom: false, doubleClick: "reset" };
  const LEAST_LETTERS = 9;
  const PRINT_WIDTH = 660;
  const PRINT_SCALE = 0.88; // of a table's columns, by the sizes of its letters and gaps
  const COLOURS = {
    "font.color": "--muted", "legend.font.color": "--ink", "hoverlabel.bgcolor": "--panel",
    "hoverlabel.bordercolor": "--axis", "hoverlabel.font.color": "--ink",
  };
  const AXIS_COLOURS = { gridcolor: "--grid", linecolor: "--axis", tickcolor: "--axis", zerolinecolor: "--axis" };
  const KEYS = ["layer", "head", "shift"]; // what can be chosen; traces and names along axes say where they belong
  const painted = new Map(); // drawn plot -> {layout path: CSS variable}
  const chosen = new Map(); // key -> value, as text; without a value figures show what they were drawn with
  const struck = new Map(); // grid -> names of the series that its legend leaves out

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
      if (!(shape.line && shape.line.color)) paths[`shapes[${i}].line.color`] = shape.name === "chosen" ? "--ink" : "--muted";
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

  // Choosing --------------------------------------------------------------------------------------------------------

  function placeOf(meta) {
    const known = KEYS.filter((key) => meta && typeof meta === "object" && key in meta);
    return Object.fromEntries(known.map((key) => [key, String(meta[key])]));
  }

  const says = (place) => Object.entries(place).map(([key, value]) => `${key} ${value}`).join(", ");

  // Traces that belong somewhere take turns: those that fit what is chosen are shown, and where none fits, those that
  // were drawn at first. Says in words what is shown.
  function takeTurns(data) {
    const groups = new Map();
    data.forEach((trace, i) => {
      trace.uid = `trace-${i}`; // so that what a reader did with a trace stays with it
      const place = placeOf(trace.meta);
      const keys = Object.keys(place).join();
      if (keys) groups.set(keys, [...(groups.get(keys) || []), { trace, place }]);
    });
    const said = [];
    for (const group of groups.values()) {
      const first = group.filter(({ trace }) => trace.visible !== false);
      const keys = Object.keys(group[0].place);
      const wanted = {};
      for (const key of keys) {
        const drawn = new Set(first.map(({ place }) => place[key]));
        if (chosen.has(key)) wanted[key] = chosen.get(key);
        else if (drawn.size === 1) [wanted[key]] = drawn;
      }
      const asked = keys.some((key) => chosen.has(key));
      const fitting = group.filter(({ place }) => Object.keys(wanted).every((key) => place[key] === wanted[key]));
      const shown = asked && fitting.length ? fitting : first;
      for (const { trace } of group) trace.visible = shown.some((entry) => entry.trace === trace);
      const common = Object.fromEntries(keys.filter((key) => shown.every(({ place }) => place[key] === shown[0].place[key]))
        .map((key) => [key, shown[0].place[key]]));
      if (asked && !fitting.length) said.push(`${says(common) || "as drawn"} (there is no ${says(wanted)} here)`);
      else if (group.length > shown.length) said.push(says(common));
    }
    return said.filter(Boolean).join("; ");
  }

  // The stretches of an axis whose names fit all that is chosen of what they belong to.
  function stretches(places) {
    const found = [];
    (places || []).map(placeOf).forEach((place, i) => {
      const keys = Object.keys(place).filter((key) => chosen.has(key));
      if (!keys.length || keys.some((key) => place[key] !== chosen.get(key))) return;
      const last = found[found.length - 1];
      if (last && last[1] === i - 0.5) last[1] = i + 0.5;
      else found.push([i - 0.5, i + 0.5]);
    });
    return found;
  }

  function frameChosen(plot, layout) {
    plot.closest(".figure").classList.toggle("chosen", stretches((layout.meta || {}).whole).length > 0);
    const [xs, ys] = ["x", "y"].map((axis) => stretches((layout.meta || {})[axis]));
    if (!xs.length && !ys.length) return;
    for (const x of xs.length ? xs : [null])
      for (const y of ys.length ? ys : [null])
        (layout.shapes ??= []).push({
          type: "rect", name: "chosen", layer: "above", line: { width: 2, dash: "dot" }, fillcolor: "rgba(0,0,0,0)",
          xref: x ? "x" : "paper", x0: x ? x[0] : 0, x1: x ? x[1] : 1,
          yref: y ? "y" : "paper", y0: y ? y[0] : 0, y1: y ? y[1] : 1,
        });
  }

  // Says above a figure what it shows; the figures of a grid say it once.
  function say(plot, text) {
    const place = plot.closest(".grid") || plot;
    plot.dataset.shown = text;
    plot.dataset.label ??= plot.getAttribute("aria-label");
    plot.setAttribute("aria-label", plot.dataset.label + (text && ` Shown: ${text}.`));
    const texts = new Set([plot, ...place.querySelectorAll(".plot")].map((one) => one.dataset.shown).filter(Boolean));
    let line = place.previousElementSibling;
    if (!line || !line.matches(".shown")) {
      if (!texts.size) return;
      line = Object.assign(document.createElement("p"), { className: "shown" });
      place.before(line);
    }
    line.hidden = !texts.size;
    line.textContent = `Shown: ${[...texts].join("; ")}.`;
  }

  const anchor = () => location.hash.slice(1).split("&").find((part) => !part.includes("=")) || "";

  function startChoosing() {
    const form = document.getElementById("page--choose");
    if (!form) return;
    const selects = [...form.querySelectorAll("select")];
    const set = (select, value) => {
      select.value = [...select.options].some((option) => option.value === value) ? value : "";
    };
    const follow = () => {
      chosen.clear();
      for (const select of selects) if (select.value) chosen.set(select.name, select.value);
      const pairs = [...chosen].map(([key, value]) => `${key}=${encodeURIComponent(value)}`);
      try { history.replaceState(null, "", `#${[anchor(), ...pairs].filter(Boolean).join("&")}`); } catch { /* a frame may forbid it */ }
      for (const plot of painted.keys()) if (plot.dataset.follows) redraw(plot);
    };
    const read = () => {
      const pairs = location.hash.slice(1).split("&").filter((part) => part.includes("="));
      for (const pair of pairs) {
        const [key, value] = [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)];
        const select = selects.find((one) => one.name === key);
        try { if (select) set(select, decodeURIComponent(value)); } catch { /* half a letter */ }
      }
      if (pairs.length || chosen.size) follow();
    };
    form.hidden = false;
    form.addEventListener("change", follow);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(follow)); // when the selects are back
    addEventListener("hashchange", read);
    read();
    return (place) => {
      for (const select of selects) if (select.name in place) set(select, place[select.name]);
      follow();
    };
  }

  function chooseByClick(plot) {
    plot.on("plotly_click", ({ points: [point] }) => {
      const along = plot.layout.meta || {};
      const [row, column] = Array.isArray(point.pointNumber) ? point.pointNumber : [point.pointNumber, point.pointNumber];
      choose({ ...placeOf((along.whole || [])[0]), ...placeOf((along.x || [])[column]), ...placeOf((along.y || [])[row]), ...placeOf(point.data.meta) });
    });
  }

  function startLegends() {
    document.addEventListener("click", (event) => {
      const button = event.target.closest("[data-series]");
      if (!button) return;
      const out = button.getAttribute("aria-pressed") === "true";
      button.setAttribute("aria-pressed", String(!out));
      const grid = button.closest(".multiples");
      if (!struck.has(grid)) struck.set(grid, new Set());
      struck.get(grid)[out ? "add" : "delete"](button.dataset.series);
      for (const plot of grid.querySelectorAll(".plot")) if (painted.has(plot)) redraw(plot);
    });
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
    layout.uirevision = "kept"; // a reader's zoom outlives a choice
    layout.xaxis ??= {};
    layout.yaxis ??= {};
    const grid = plot.closest(".multiples");
    if (grid) layout.showlegend = false; // the grid has one of its own
    say(plot, takeTurns(spec.data));
    if (spec.data.some((trace) => Object.keys(placeOf(trace.meta)).length) || layout.meta) plot.dataset.follows = "yes";
    // plotly never sees those whose turn it is not: there may be hundreds.
    const out = struck.get(grid) || new Set();
    spec.data = spec.data.filter((trace) => trace.visible !== false || !Object.keys(placeOf(trace.meta)).length);
    spec.data = spec.data.filter((trace) => !out.has(trace.legendgroup ?? trace.name));
    frameChosen(plot, layout);
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

  // Numbers in cells that are too small for letters of nine pixels are left to the hover.
  function hideTinyLetters(plot) {
    for (const text of plot.querySelectorAll(".heatmap-label text"))
      text.style.display = parseFloat(text.style.fontSize || getComputedStyle(text).fontSize) < LEAST_LETTERS ? "none" : "";
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
    hideTinyLetters(plot);
    plot.on("plotly_afterplot", () => hideTinyLetters(plot));
    if (choose && plot.dataset.follows) chooseByClick(plot);
  }

  function redraw(plot) {
    const { spec, paths } = prepare(plot);
    painted.set(plot, paths);
    Plotly.react(plot, spec.data, spec.layout, CONFIG);
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

  // A table wider than the paper is printed as several below one another, each with the first column.
  function columnsThatFit(table) {
    table.classList.add("narrow");
    const widths = [...table.rows[0].cells].map((cell) => cell.offsetWidth * PRINT_SCALE);
    table.classList.remove("narrow");
    const parts = [[]];
    let room = PRINT_WIDTH - widths[0];
    for (let i = 1; i < widths.length; i++) {
      if (widths[i] > room && parts[parts.length - 1].length) {
        parts.push([]);
        room = PRINT_WIDTH - widths[0];
      }
      parts[parts.length - 1].push(i);
      room -= widths[i];
    }
    return parts;
  }

  function splitWideTables() {
    const made = [];
    for (const table of all(".table table")) {
      const parts = columnsThatFit(table);
      if (parts.length < 2) continue;
      parts.reverse().forEach((columns, back) => {
        const part = table.cloneNode(true);
        if (back < parts.length - 1) part.querySelector("caption").remove();
        for (const row of part.rows)
          [...row.cells].forEach((cell, i) => { if (i && !columns.includes(i)) cell.remove(); });
        part.classList.add("printed");
        table.after(part);
        made.push(part);
      });
      table.classList.add("split");
    }
    return () => {
      made.forEach((part) => part.remove());
      all("table.split").forEach((table) => table.classList.remove("split"));
    };
  }

  function startPrinting(plots) {
    let before = "auto";
    let opened = [];
    let join = () => {};
    addEventListener("beforeprint", () => {
      before = root.dataset.theme || "auto";
      opened = all("details.fold:not([open])");
      opened.forEach((fold) => { fold.open = true; });
      plots.forEach(draw);
      join = splitWideTables();
      setTheme("light");
      for (const plot of painted.keys()) Plotly.relayout(plot, { width: plot.closest(".grid") ? PRINT_WIDTH / 2 - 12 : PRINT_WIDTH });
    });
    addEventListener("afterprint", () => {
      join();
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
      const target = document.getElementById(anchor());
      if (!target) return;
      let closed = 0;
      for (let node = target; node; node = node.parentElement) {
        const fold = node.matches("details") ? node : node.querySelector(":scope > details.fold");
        if (!fold || fold.open || !(fold === node || node.matches(".folded"))) continue;
        fold.open = true;
        closed += 1;
      }
      if (closed || target.id !== location.hash.slice(1)) target.scrollIntoView({ behavior: "instant" }); // the browser could not
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
  const choose = startChoosing(); // its bar takes room above what a link leads to
  startContents();
  startLegends();
  startPrinting(plots);
  drawWhenNear(plots);
  redrawWhenUnfolded();
})();
