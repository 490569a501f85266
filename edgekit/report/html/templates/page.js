"use strict";
(() => {
  const byId = (name) => document.getElementById(name);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];

  // What is packed in the page.
  const bytes = (name) => Uint8Array.from(atob(byId(name).textContent), (letter) => letter.charCodeAt(0));
  const unpacked = (name) =>
    new Response(new Blob([bytes(name)]).stream().pipeThrough(new DecompressionStream("gzip"))).text();

  // Light and dark.
  const theme = byId("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (document.documentElement.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
  const name = () => { theme.textContent = dark() ? "light" : "dark"; };
  theme.hidden = false;
  theme.addEventListener("click", () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    name();
  });
  system.addEventListener("change", name);
  name();

  // The table: sort and filter.
  const table = byId("table");
  if (table && byId("find")) {
    const body = table.tBodies[0];
    const heads = all("thead th", table);
    const sort = byId("sort");
    const filters = all("select[data-by]");
    byId("filters").hidden = false;
    const order = (row, column) => row.cells[column].dataset.order;
    const compare = (column, down) => (a, b) => {
      const [x, y] = [order(a, column), order(b, column)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const both = x.trim() !== "" && y.trim() !== "" && !isNaN(x) && !isNaN(y);
      const found = both ? Number(x) - Number(y) : x.localeCompare(y, "en", { numeric: true });
      return down ? -found : found;
    };
    const apply = (column, down) => {
      heads.forEach((head, index) => {
        if (index === column) head.setAttribute("aria-sort", down ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
      });
      body.append(...[...body.rows].sort(compare(column, down)));
    };
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => apply(column, head.getAttribute("aria-sort") === "ascending"));
      for (const [words, down] of [["", false], [", falling", true]]) {
        const option = new Option(button.textContent + words, `${column}${down ? "d" : ""}`);
        sort.add(option);
      }
    });
    sort.add(new Option("the best first", ""), 0);
    sort.value = "";
    sort.addEventListener("change", () => {
      if (sort.value) apply(parseInt(sort.value, 10), sort.value.endsWith("d"));
      else body.append(...[...body.rows].sort((a, b) => a.dataset.place - b.dataset.place));
    });
    const filter = () => {
      const wanted = byId("find").value.trim().toLowerCase();
      let shown = 0;
      for (const row of body.rows) {
        const fits = filters.every((one) => !one.value || row.dataset[one.dataset.by] === one.value);
        row.hidden = !(fits && row.textContent.toLowerCase().includes(wanted));
        shown += !row.hidden;
      }
      byId("shown").textContent = shown < body.rows.length ? `${shown} of ${body.rows.length}` : "";
    };
    byId("find").addEventListener("input", filter);
    filters.forEach((one) => one.addEventListener("change", filter));
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
  }

  // A link to a file opens it; so does coming here with its address.
  const open = () => {
    const target = location.hash.startsWith("#file-") && byId(location.hash.slice(1));
    if (target) { target.open = true; target.scrollIntoView(); }
  };
  addEventListener("hashchange", open);
  all('a[href^="#file-"]').forEach((link) => link.addEventListener("click", () => setTimeout(open)));
  open();

  // Paper folds nothing.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = all("details:not([open])");
    closed.forEach((one) => { one.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((one) => { one.open = false; }));

  const download = byId("download");
  if (window.DecompressionStream) {
    download.hidden = false;
    download.addEventListener("click", async () => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([await unpacked("raw")], { type: "application/json" }));
      link.download = "report.json";
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    });
  }

  // Charts.
  const trouble = (text) => { byId("trouble").textContent = text; byId("trouble").hidden = false; };
  const config = (width) => {
    const label = { labelColor: "#5a6270", labelFontSize: 11, labelLimit: Math.max(90, width * 0.34) };
    const title = { titleColor: "#5a6270", titleFontWeight: "normal", titleFontSize: 11.5, titleLimit: width };
    return {
      background: null,
      font: "system-ui, sans-serif",
      padding: 2,
      view: { stroke: null },
      axis: { ...label, ...title, gridColor: "#dfe3e8", domainColor: "#dfe3e8", tickColor: "#dfe3e8", tickCount: width < 420 ? 4 : 7 },
      axisX: { titlePadding: 6, labelFlush: false },
      legend: {
        orient: "bottom", direction: "horizontal", columns: width < 420 ? 1 : 2, labelColor: "#1b1f26", symbolSize: 70,
        symbolStrokeWidth: 2, symbolOpacity: 1, labelLimit: width * (width < 420 ? 0.6 : 0.33) - 24, titleColor: "#5a6270", offset: 6, rowPadding: 1,
      },
      text: { color: "#1b1f26" },
    };
  };
  const filled = (spec, scale) => {
    if (spec === "@variants") return scale;
    if (spec === "@order") return scale.domain;
    if (Array.isArray(spec)) return spec.map((one) => filled(one, scale));
    if (spec === null || typeof spec !== "object") return spec;
    return Object.fromEntries(Object.entries(spec).map(([key, one]) => [key, filled(one, scale)]));
  };

  const start = async () => {
    if (!window.DecompressionStream) {
      trouble("This browser cannot unpack the charts (it has no DecompressionStream); the tables say the same.");
      return;
    }
    const [data, library] = await Promise.all([unpacked("payload").then(JSON.parse), unpacked("library")]);
    const element = document.createElement("script");
    element.textContent = library;
    document.head.append(element);

    // Each chosen file keeps its colour as long as it is chosen.
    const slots = data.colours.map((_, index) => data.drawn[index] ?? null);
    const boxes = all("#choices input");
    const scale = () => {
      const places = slots.map((place, slot) => ({ place, slot })).filter((one) => one.place !== null);
      places.sort((a, b) => a.place - b.place);
      return {
        domain: places.map((one) => data.variants[one.place]),
        range: places.map((one) => data.colours[one.slot]),
      };
    };
    const choices = () => {
      const chosen = slots.filter((place) => place !== null).length;
      for (const box of boxes) {
        const slot = slots.indexOf(Number(box.value));
        box.checked = slot >= 0;
        box.disabled = slot < 0 && chosen === slots.length;
        box.nextElementSibling.dataset.slot = slot;
      }
      if (byId("count")) byId("count").textContent = `${chosen} of ${data.variants.length}`;
    };
    const views = new Map();
    const draw = async (one) => {
      const place = byId(`chart-${one.name}`);
      const there = new Set(one.rows.map((row) => row.variant));
      const { domain, range } = scale();
      const colours = {
        domain: domain.filter((key) => there.has(key)),
        range: range.filter((_, index) => there.has(domain[index])),
      };
      const chosen = new Set(colours.domain);
      const values = one.rows.filter((row) => row.variant === undefined || chosen.has(row.variant));
      views.get(one.name)?.finalize();
      if (!chosen.size) {
        // Without a row Vega-Lite has no scale, and draws as high as a browser can.
        views.delete(one.name);
        place.textContent = "None of the chosen files has figures for this.";
        return;
      }
      const spec = {
        ...filled(one.spec, colours),
        // One line per file: Vega-Lite's own steps do not go with a width that is to be kept.
        height: one.spec.height.step ? one.spec.height.step * Math.max(colours.domain.length, 1) : one.spec.height,
        width: place.clientWidth,
        autosize: { type: "fit-x", contains: "padding" },
        data: { values },
      };
      const made = await vegaEmbed(place, spec, {
        actions: false, renderer: "svg", ast: true, mode: "vega-lite", config: config(place.clientWidth),
        tooltip: { theme: "custom" },
      });
      views.set(one.name, made);
    };
    // One after the other: a chart that is being drawn would else come back over the one that followed it.
    let latest = 0;
    let drawing = Promise.resolve();
    const drawAll = () => {
      const mine = ++latest;
      drawing = drawing.then(async () => {
        for (const one of data.charts) {
          // The page scrolls and folds meanwhile.
          await new Promise((resolve) => { setTimeout(resolve); });
          if (mine !== latest) return;
          try {
            await draw(one);
          } catch (error) {
            console.error(error);
            trouble(`A chart could not be drawn: ${error.message}`);
          }
        }
        document.documentElement.dataset.drawn = String(data.charts.length);
      });
      return drawing;
    };
    boxes.forEach((box) => box.addEventListener("change", () => {
      const place = Number(box.value);
      if (box.checked) slots[slots.indexOf(null)] = place;
      else slots[slots.indexOf(place)] = null;
      choices();
      drawAll();
    }));
    choices();
    byId("chooser").hidden = false;
    await drawAll();
    let width = innerWidth;
    let later;
    addEventListener("resize", () => {
      if (innerWidth === width) return;
      width = innerWidth;
      clearTimeout(later);
      later = setTimeout(drawAll, 200);
    });
  };
  if (byId("payload")) {
    start().catch((error) => { console.error(error); trouble(`Charts could not be drawn: ${error.message}`); });
  }
})();
