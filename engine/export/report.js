(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const all = (what, within = document) => [...within.querySelectorAll(what)];
  const table = document.getElementById("recipes"), body = table.tBodies[0], heads = all("th", table);
  const rows = [...body.rows], order = new Map(rows.map((row, i) => [row, i]));
  const value = (row, at) => { const v = row.cells[at].dataset.v; return v === undefined ? NaN : Number(v); };
  const charts = all("section:has(.chart)").map((section) => section.querySelector(".chart"));
  const state = { limits: {}, words: "", sort: "", off: new Set(), picked: "", option: "" };

  // What is chosen is in the address: a link, or a bookmark, opens the file as it was left.
  const remember = () => {
    const parts = new URLSearchParams();
    for (const [key, limit] of Object.entries(state.limits)) parts.set(key, limit);
    if (state.words) parts.set("find", state.words);
    if (state.sort) parts.set("sort", state.sort);
    if (state.off.size) parts.set("hide", [...state.off].join(","));
    if (state.picked) parts.set("recipe", state.picked);
    if (state.option) parts.set("option", state.option);
    history.replaceState(null, "", "#" + parts);
  };

  const columns = heads.map((head, at) => ({ at, key: head.dataset.key, up: head.dataset.up === "1", head })).filter((c) => c.key);
  const judged = columns.find((c) => c.key === table.dataset.judged) || columns[0];
  const texts = (column) => {
    const found = new Map();
    for (const row of rows) {
      const v = value(row, column.at);
      if (!Number.isNaN(v)) found.set(v, row.cells[column.at].firstChild.textContent.trim());
    }
    // From what all keep to what the best alone does.
    return [...found.entries()].sort((a, b) => (column.up ? a[0] - b[0] : b[0] - a[0]));
  };

  // An option whose recipes light up; its own chart has options for marks, and stays as it is.
  const options = all("#options tbody tr");
  const ids = (key) => new Set(options.filter((row) => row.dataset.option === key).flatMap((row) => row.dataset.ids.split(" ")));

  const update = () => {
    const words = state.words.toLowerCase().split(/\s+/).filter(Boolean), kept = new Set();
    let best = null;
    for (const row of rows) {
      const inside = columns.every((c) => {
        if (!(c.key in state.limits)) return true;
        const v = value(row, c.at), limit = state.limits[c.key];
        return c.up ? v >= limit : v <= limit;
      });
      const text = row.cells[1].textContent.toLowerCase();
      row.hidden = !(inside && words.every((word) => text.includes(word)));
      if (inside) {
        kept.add(row.id.slice(2));
        const v = value(row, judged.at), ahead = best && value(best, judged.at);
        if (!Number.isNaN(v) && (!best || (judged.up ? v > ahead : v < ahead))) best = row;
      }
      row.classList.remove("best");
    }
    const limited = Object.keys(state.limits).length > 0, verdict = document.getElementById("verdict");
    verdict.textContent = !limited ? `${rows.length} recipes; move a slider to set a limit.`
      : best ? `${kept.size} of ${rows.length} recipes keep the limits. Best by ${judged.head.textContent.trim()}: ${best.cells[1].querySelector("summary").textContent}.`
      : "No recipe keeps the limits.";
    if (limited && best) best.classList.add("best");
    const lit = ids(state.option);
    if (!lit.size) state.option = "";
    for (const row of options) {
      row.classList.toggle("lit", row.dataset.option === state.option);
      row.querySelector("button").setAttribute("aria-pressed", String(row.dataset.option === state.option));
    }
    for (const row of rows) row.classList.toggle("lit", lit.has(row.id.slice(2)));
    const bright = (id) => kept.has(id) && (!lit.size || lit.has(id));
    const keys = new Set(options.map((row) => row.dataset.option));
    for (const chart of charts) {
      if (!chart.data || chart.data.some((trace) => trace.customdata && trace.customdata.some((one) => one && keys.has(one[0])))) continue;
      const faint = [], traces = [];
      chart.data.forEach((trace, i) => {
        if (!trace.customdata || !trace.marker || trace.type === "heatmap") return;
        traces.push(i);
        faint.push(trace.customdata.map((one) => (!one || !one.length || bright(one[0]) ? 1 : 0.12)));
      });
      if (traces.length) Plotly.restyle(chart, { "marker.opacity": faint }, traces);
    }
    remember();
  };

  const light = (key) => { state.option = state.option === key ? "" : key; update(); };
  for (const row of options) row.querySelector("button").addEventListener("click", () => light(row.dataset.option));

  const pick = (id) => {
    if (options.some((row) => row.dataset.option === id)) return light(id);
    all("tr.picked").forEach((row) => row.classList.remove("picked"));
    const row = document.getElementById("t-" + id);
    if (!row) return;
    state.picked = id;
    row.hidden = false;
    row.classList.add("picked");
    row.querySelector("details").open = true;
    row.scrollIntoView({ block: "center" });
    remember();
  };

  const sort = (key) => {
    state.sort = key;
    const down = key.startsWith("-"), column = columns.find((c) => c.key === key.replace(/^-/, ""));
    for (const head of heads) head.removeAttribute("aria-sort");
    if (column) column.head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rank = (row) => { const v = column ? value(row, column.at) : order.get(row); return Number.isNaN(v) ? Infinity : down ? -v : v; };
    body.append(...rows.slice().sort((a, b) => rank(a) - rank(b) || order.get(a) - order.get(b)));
    remember();
  };

  const show = (column, shown) => {
    shown ? state.off.delete(column.key) : state.off.add(column.key);
    for (const row of table.rows) row.cells[column.at].hidden = !shown;
  };

  const given = new URLSearchParams(location.hash.slice(1));
  const limits = document.getElementById("limits"), chooser = document.getElementById("columns");
  const hidden = given.has("hide") ? new Set(given.get("hide").split(",")) : new Set(columns.filter((c) => c.head.dataset.off).map((c) => c.key));
  for (const column of columns) {
    const steps = texts(column), name = column.head.textContent.trim();
    const button = document.createElement("button");
    button.type = "button";
    button.append(...column.head.childNodes);
    button.addEventListener("click", () => sort(state.sort === column.key ? "-" + column.key : state.sort === "-" + column.key ? "" : column.key));
    column.head.append(button);
    const label = document.createElement("label"), box = document.createElement("input");
    box.type = "checkbox";
    box.checked = !hidden.has(column.key);
    box.addEventListener("change", () => { show(column, box.checked); remember(); });
    label.append(box, " " + name);
    chooser.append(label);
    show(column, box.checked);
    if (steps.length < 2 || column.head.dataset.off) continue;
    const slider = document.createElement("input"), told = document.createElement("output"), around = document.createElement("label");
    Object.assign(slider, { type: "range", min: 0, max: steps.length - 1, step: 1, value: 0 });
    const set = () => {
      const at = Number(slider.value);
      at ? (state.limits[column.key] = steps[at][0]) : delete state.limits[column.key];
      told.textContent = at ? `${column.up ? "at least" : "at most"} ${steps[at][1]}` : "no limit";
    };
    if (given.has(column.key)) {
      const limit = Number(given.get(column.key));
      const at = steps.findIndex(([v]) => (column.up ? v >= limit : v <= limit));
      slider.value = at < 0 ? steps.length - 1 : at;
    }
    set();
    slider.addEventListener("input", () => { set(); update(); });
    slider.setAttribute("aria-label", "Limit of " + name);
    around.append(name, slider, told);
    limits.append(around);
  }
  const find = document.getElementById("find");
  state.words = find.value = given.get("find") || "";
  find.addEventListener("input", () => { state.words = find.value; update(); });
  document.getElementById("reset").addEventListener("click", () => { location.hash = ""; location.reload(); });

  const colours = () => {
    const of = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const axis = { gridcolor: of("--line"), linecolor: of("--line"), zerolinecolor: of("--line"), tickcolor: of("--line") };
    return { text: of("--text"), back: of("--back"), axis };
  };
  const themed = (layout) => {
    const c = colours();
    return { ...layout, paper_bgcolor: c.back, plot_bgcolor: c.back, font: { color: c.text, family: "system-ui, sans-serif" },
      hoverlabel: { bgcolor: c.back, bordercolor: c.axis.linecolor, font: { color: c.text } },
      xaxis: { ...layout.xaxis, ...c.axis }, yaxis: { ...layout.yaxis, ...c.axis } };
  };
  for (const chart of charts) {
    const section = chart.closest("section");
    const figure = JSON.parse(section.querySelector("script").textContent);
    const name = document.title.replace(/[^\w-]+/g, "-");
    Plotly.newPlot(chart, figure.data, themed(figure.layout), { responsive: true, displaylogo: false,
      modeBarButtonsToRemove: ["select2d", "lasso2d", "toImage"] });
    chart.on("plotly_click", (event) => {
      const data = event.points[0].customdata;
      if (data) pick(Array.isArray(data) ? data[0] : data);
    });
    // Layouts are merged, so zoom stays when the colours change.
    dark.addEventListener("change", () => {
      const { paper_bgcolor, plot_bgcolor, font, hoverlabel, xaxis } = themed({});
      const axes = {};
      for (const key of Object.keys(xaxis)) for (const axis of ["xaxis", "yaxis"]) axes[axis + "." + key] = xaxis[key];
      Plotly.relayout(chart, { paper_bgcolor, plot_bgcolor, font, hoverlabel, ...axes });
    });
    for (const button of section.querySelectorAll("button[data-format]"))
      button.addEventListener("click", () => Plotly.downloadImage(chart, { format: button.dataset.format, width: 1000, height: 560,
        scale: button.dataset.format === "png" ? 2 : 1, filename: name }));
  }
  // How the frontier grew: frames are the first so many points, so each point is in the file once. Nothing moves by itself, and for
  // whoever asks for less motion the button takes one step at a time.
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  for (const lapse of all(".lapse")) {
    const chart = lapse.closest("section").querySelector(".chart"), all_of = JSON.parse(lapse.querySelector("script").textContent);
    const button = lapse.querySelector("button"), slider = lapse.querySelector("input"), told = lapse.querySelector("output");
    const escaped = (text) => text.replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);
    const last = all_of.frames.length - 1;
    let timer = 0;
    const name = () => { button.textContent = still.matches ? "Next step" : timer ? "❚❚ Pause" : "▶ Play"; };
    const stop = () => { clearInterval(timer); timer = 0; told.setAttribute("aria-live", "polite"); name(); };
    const draw = (at) => {
      const frame = all_of.frames[at], beaten = all_of.cloud.slice(0, frame.drawn), front = frame.front;
      const of = (values, rows) => rows.map((row) => values[row]);
      const x = of(all_of.x, front), y = of(all_of.y, front);
      Plotly.restyle(chart, { x: [of(all_of.x, beaten), x, x], y: [of(all_of.y, beaten), y, y],
        hovertext: ["", "", front.map((row) => escaped(all_of.labels[row]))] }, [0, 1, 2]);
      slider.value = at;
      slider.setAttribute("aria-valuetext", frame.text);
      told.textContent = frame.text;
    };
    const step = () => { draw(Number(slider.value) + 1); if (Number(slider.value) >= last) stop(); };
    button.addEventListener("click", () => {
      if (timer) return stop();
      if (still.matches) return draw(Number(slider.value) >= last ? 0 : Number(slider.value) + 1);
      // Read out at every frame it would be a stammer.
      told.setAttribute("aria-live", "off");
      draw(Number(slider.value) >= last ? 0 : Number(slider.value));
      timer = setInterval(step, 150);
      name();
    });
    slider.addEventListener("input", () => { stop(); draw(Number(slider.value)); });
    still.addEventListener("change", stop);
    stop();
  }
  const picked = given.get("recipe");
  state.option = given.get("option") || "";
  if (given.get("sort")) sort(given.get("sort"));
  update();
  if (picked) pick(picked);
})();
