// What a browser with JavaScript adds to pages that work without it: the rule of names while one types, a button that
// copies, and a plot that shows values and zooms. Nothing is sent from here: a zoom leads to the URL of its range.
"use strict";

function checkNames() {
  const field = document.querySelector("[data-check-name]");
  if (!field) return;
  const verdict = document.querySelector("[data-name-verdict]");
  const rule = new RegExp(`^(?:${field.pattern})$`, "u");
  const say = () => {
    const letters = Array.from(field.value);
    const wrong = letters.findIndex((_, at) => !rule.test(letters.slice(0, at + 1).join("")));
    verdict.classList.toggle("no", wrong >= 0);
    verdict.classList.toggle("yes", wrong < 0);
    if (!letters.length) verdict.textContent = "";
    else if (wrong < 0) verdict.textContent = "This name can be used.";
    else verdict.textContent = `“${letters[wrong]}” cannot stand at place ${wrong + 1} of the name.`;
  };
  field.addEventListener("input", say);
  say();
}

function offerToCopy() {
  for (const button of document.querySelectorAll("[data-copy]")) {
    const field = document.getElementById(button.dataset.copy);
    const said = document.querySelector("[data-copied]");
    button.hidden = false;
    button.addEventListener("click", async () => {
      field.select();
      try {
        await navigator.clipboard.writeText(field.value);
        said.textContent = "The token was copied.";
      } catch {
        said.textContent = "The browser did not allow copying. The token is selected: copy it with the keyboard.";
      }
    });
  }
}

// The labels of the time axis, for steps of at least so many seconds: the label, and what is added below it where the
// year, the day or the minute is another one than at the label before.
const DAY_S = 86400;
const TIMES = [
  [365 * DAY_S, "{YYYY}", null, null, null, null, null, null, 1],
  [28 * DAY_S, "{MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [DAY_S, "{D} {MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [60, "{HH}:{mm}", "\n{D} {MMM} {YYYY}", null, "\n{D} {MMM}", null, null, null, 1],
  [1, "{HH}:{mm}:{ss}", "\n{D} {MMM} {YYYY}", null, "\n{D} {MMM}", null, null, null, 1],
];

function plot() {
  const figure = document.querySelector("[data-plot]");
  if (!figure || typeof uPlot === "undefined") return;
  const content = JSON.parse(figure.querySelector("[data-plot-content]").textContent);
  const drawing = figure.querySelector("[data-drawing]");
  const words = drawing.querySelector("svg").getAttribute("aria-label");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const moments = Array.from(new Set(content.lines.flatMap((line) => line.timestamps))).sort((a, b) => a - b);
  const place = new Map(moments.map((moment, at) => [moment, at]));
  const aligned = (line, values) => {
    const column = new Array(moments.length).fill(undefined);
    line.timestamps.forEach((moment, at) => { column[place.get(moment)] = values[at]; });
    return column;
  };
  const data = [moments, ...content.lines.flatMap((line) => [line.high, line.low, line.last].map((values) => aligned(line, values)))];

  const here = new URL(location.href);
  const goTo = (start, end) => {
    for (const [name, value] of [["start", start], ["end", end]]) {
      if (value === null) here.searchParams.delete(name);
      else here.searchParams.set(name, value);
    }
    location.assign(here);
  };
  const options = (width) => ({
    width,
    height: 300,
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    scales: { x: { time: true } },
    axes: [0, 1].map((axis) => ({
      stroke: colour("--faint"),
      grid: { stroke: colour("--rule"), width: 1 },
      ticks: { stroke: colour("--rule"), width: 1 },
      ...(axis ? {} : { values: TIMES }),
      ...(axis ? { size: (self, texts) => 18 + 7.5 * Math.max(...(texts ?? [""]).map((text) => text.length)) } : {}),
    })),
    cursor: {
      drag: { setScale: false },
      bind: { dblclick: () => () => { goTo(null, null); return null; } },
    },
    series: [
      { label: "Time (UTC)", value: "{YYYY}-{MM}-{DD} {HH}:{mm}:{ss}" },
      ...content.lines.flatMap((line, at) => {
        const stroke = colour(`--line-${at + 1}`);
        const edge = { class: "edge", stroke: "transparent", width: 0, points: { show: false }, spanGaps: true };
        const value = (self, shown) => (shown === null || shown === undefined ? "–" : String(shown));
        return [{ ...edge }, { ...edge }, { label: line.series, stroke, width: 1.5, spanGaps: true, value }];
      }),
    ],
    bands: content.lines.map((_, at) => ({ series: [3 * at + 1, 3 * at + 2], fill: `${colour(`--line-${at + 1}`)}33` })),
    hooks: {
      setSelect: [(self) => {
        if (self.select.width < 3) return;
        const edge = (pixels) => self.posToVal(pixels, "x");
        goTo(Math.floor(edge(self.select.left)), Math.ceil(edge(self.select.left + self.select.width)) + 1);
      }],
    },
  });

  const canvas = document.createElement("div");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", words);
  drawing.before(canvas);
  drawing.hidden = true;
  figure.querySelector(".legend").hidden = true;
  figure.querySelector("[data-zoom-hint]").hidden = false;
  let chart = null;
  const draw = () => {
    if (chart) chart.destroy();
    chart = new uPlot(options(canvas.clientWidth), data, canvas);
  };
  draw();
  new ResizeObserver(() => {
    if (chart.width !== canvas.clientWidth) chart.setSize({ width: canvas.clientWidth, height: 300 });
  }).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}

addEventListener("DOMContentLoaded", () => {
  checkNames();
  offerToCopy();
  plot();
});
