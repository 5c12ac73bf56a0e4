// The metrics: charts drawn from the tables beneath them, and the slider into the past.
//
// A chart is a figure[data-chart] whose table has a column a series; cells say their number in
// data-value, an empty one is a gap. So picture and table cannot differ.

const drawn = new Set();

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function read(figure) {
  const rows = [...figure.querySelectorAll("tbody tr:not([data-only-table])")].slice(0, Number(figure.dataset.rows) || undefined);
  const heads = [...figure.querySelectorAll("thead th")].slice(1).map((head) => head.textContent.trim());
  const columns = heads.map((name, n) => ({ name, cells: rows.map((row) => row.querySelectorAll("td")[n]) }))
    .filter((column) => column.cells.some((cell) => cell?.hasAttribute("data-value")));
  return {
    labels: rows.map((row) => row.querySelector("th").dataset.label ?? row.querySelector("th").textContent.trim()),
    series: columns.map(({ name, cells }) => ({ name, values: cells.map((cell) => (cell.dataset.value === "" ? null : Number(cell.dataset.value))) })),
  };
}

// Halves up, as the table has them: 0.0845 is 8.5 %, whatever its bits say.
const fixed = (value, digits) => (Math.round(Number((value * 10 ** digits).toPrecision(12))) / 10 ** digits).toFixed(digits);

function draw(figure) {
  const { labels, series } = read(figure);
  const percent = figure.dataset.unit === "percent";
  const kind = figure.dataset.chart;
  const ink = colour("--ink-2");
  const said = (value) => (value === null || value === undefined ? "—" : percent ? `${fixed(value * 100, 1)} %` : Number(fixed(value, 2)).toLocaleString("en"));
  const canvas = figure.querySelector(".canvas");
  const chart = echarts.getInstanceByDom(canvas) ?? echarts.init(canvas, null, { renderer: "canvas" });
  const styles = [["--accent", "solid", "circle"], ["--ink", "dashed", "rect"], ["--ink-3", "dotted", "triangle"], ["--line-strong", "solid", "diamond"]];
  chart.setOption({
    animation: false,
    textStyle: { fontFamily: colour("--sans"), color: ink },
    color: styles.map(([name]) => colour(name)),
    grid: { left: 8, right: 12, top: series.length > 1 ? 40 : 12, bottom: 8, containLabel: true },
    legend: series.length > 1 ? { type: "scroll", top: 0, left: 0, itemWidth: 22, textStyle: { color: ink }, pageTextStyle: { color: ink }, pageIconColor: ink } : undefined,
    tooltip: { trigger: "axis", renderMode: "richText", confine: true, backgroundColor: colour("--surface"), borderColor: colour("--line"), textStyle: { color: colour("--ink") }, valueFormatter: said },
    xAxis: { type: "category", data: labels, axisLabel: { color: ink, hideOverlap: true, rotate: kind === "bar" && labels.length > 12 ? 45 : 0 }, axisLine: { lineStyle: { color: colour("--line") } }, axisTick: { show: false } },
    yAxis: { type: "value", max: percent ? 1 : undefined, minInterval: percent ? undefined : 1, axisLabel: { color: ink, formatter: percent ? (value) => `${Math.round(value * 100)} %` : undefined }, splitLine: { lineStyle: { color: colour("--line") } } },
    series: series.map(({ name, values }, n) => ({
      name, type: kind, data: values, barMaxWidth: 22, symbol: styles[n % 4][2], symbolSize: 6, connectNulls: false,
      lineStyle: { width: 2, type: styles[n % 4][1] },
    })),
  }, true);
  drawn.add(figure);
}

function drawAll(root) {
  if (!window.echarts) return;
  root.querySelectorAll("figure[data-chart]").forEach(draw);
}

function each(then) {
  for (const figure of drawn) {
    if (figure.isConnected) then(figure);
    else drawn.delete(figure);
  }
}

document.addEventListener("htmx:afterSettle", (event) => drawAll(event.target.parentElement ?? event.target));
document.addEventListener("wangge:theme", () => each(draw));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => each(draw));
let resizing;
addEventListener("resize", () => {
  cancelAnimationFrame(resizing);
  resizing = requestAnimationFrame(() => each((figure) => echarts.getInstanceByDom(figure.querySelector(".canvas"))?.resize()));
});

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-window]")) {
    const custom = event.target.value === "custom";
    document.querySelectorAll(".custom").forEach((field) => { field.hidden = !custom; });
  } else if (event.target.matches("[data-slider]")) {
    // What was slid to is a position, not a time: the form sends that in its place.
    const when = document.getElementById("as-of");
    when.value = "";
    when.removeAttribute("name");
    event.target.name = "as_of";
  }
});
document.addEventListener("input", (event) => {
  if (event.target.matches("[data-slider]")) document.getElementById("slid").textContent = Number(event.target.value).toLocaleString("en");
  else if (event.target.id === "as-of") {
    event.target.name = "as_of";
    document.getElementById("slider").removeAttribute("name");
  }
});
