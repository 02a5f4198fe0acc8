import { h, millis, svg } from "./dom.js"

/** What is shown, in milliseconds. */
export const span = 60_000

const margin = { left: 60, right: 10, top: 10, bottom: 24 }
const lane = 13

/** 1, 2 and 5 times the powers of ten from one number to another. */
const ticksBetween = (low, high) => {
  const ticks = []
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    ticks.push(...[1, 2, 5].map((factor) => factor * 10 ** power))
  }
  return ticks.filter((tick) => tick >= low && tick <= high)
}

const tickText = (tick) =>
  tick >= 1000 ? `${tick / 1000} s` : tick >= 1 ? `${tick} ms` : `${Number((tick * 1000).toPrecision(1))} µs`

/** Pieces of a line, broken where an echo failed. */
const pieces = (points) => {
  const lines = [[]]
  for (const point of points) {
    if (point.failure === undefined) {
      lines.at(-1).push(point)
    } else if (lines.at(-1).length > 0) {
      lines.push([])
    }
  }
  return lines.filter((line) => line.length > 0)
}

/** A plot of the series of all transports, which draws itself again no more often than the screen does. */
export const makePlot = (container, series, title) => {
  let measure = "callMillis"
  let asked = false

  const draw = () => {
    asked = false
    const width = container.clientWidth
    const names = [...series.keys()]
    const plotHeight = width < 500 ? 190 : 260
    const height = plotHeight + margin.top + margin.bottom + names.length * lane
    const now = Date.now()
    const recent = names.map((name) => series.get(name).points.filter(({ at }) => at > now - span))
    const values = recent
      .flat()
      .flatMap((point) => (point.failure === undefined && point.cold !== true ? [point[measure]] : []))
    const low = Math.max(Math.min(...values, 1) / 1.4, 0.01)
    const high = Math.max(...values, 10) * 1.4

    const x = (at) => margin.left + ((at - (now - span)) / span) * (width - margin.left - margin.right)
    const y = (value) =>
      margin.top + plotHeight * (1 - Math.log(Math.min(Math.max(value, low), high) / low) / Math.log(high / low))
    const laneTop = (index) => margin.top + plotHeight + 4 + index * lane

    const grid = ticksBetween(low, high).map((tick) =>
      svg(
        "g",
        {},
        svg("line", { class: "grid", x1: margin.left, x2: width - margin.right, y1: y(tick), y2: y(tick) }),
        svg("text", { x: margin.left - 8, y: y(tick) + 4, "text-anchor": "end" }, tickText(tick))
      )
    )
    const seconds = width < 500 ? [60, 30, 0] : [60, 45, 30, 15, 0]
    const times = seconds.map((ago) =>
      svg(
        "text",
        { x: x(now - ago * 1000), y: height - 6, "text-anchor": ago === 0 ? "end" : "middle" },
        ago === 0 ? "now" : `-${ago} s`
      )
    )
    const lines = names.flatMap((name, index) =>
      pieces(recent[index]).flatMap((line) => [
        svg("polyline", {
          class: `series line-${name}`,
          "data-series": name,
          points: line.map((point) => `${x(point.at).toFixed(1)},${y(point[measure]).toFixed(1)}`).join(" ")
        }),
        svg("circle", {
          class: `dot line-${name}`,
          cx: x(line.at(-1).at).toFixed(1),
          cy: y(line.at(-1)[measure]).toFixed(1),
          r: 3
        })
      ])
    )
    const lanes = names.flatMap((name, index) => [
      svg(
        "text",
        { class: "lane-name", "data-lane": name, x: margin.left - 8, y: laneTop(index) + 9, "text-anchor": "end" },
        title(name)
      ),
      svg("line", {
        class: `lane line-${name}`,
        x1: margin.left,
        x2: width - margin.right,
        y1: laneTop(index) + 5,
        y2: laneTop(index) + 5
      }),
      ...series.get(name).downs.map(({ from, to = now }) => {
        const start = Math.max(x(from), margin.left)
        return svg("rect", {
          class: "down",
          "data-down": name,
          x: start,
          width: Math.max(x(to) - start, 0),
          y: laneTop(index),
          height: lane - 3
        })
      }),
      ...recent[index]
        .filter(({ failure }) => failure !== undefined)
        .map(({ at }) =>
          svg("path", {
            class: "failure",
            "data-failure": name,
            d: `M${(x(at) - 3).toFixed(1)} ${laneTop(index) + 2}l6 6m0 -6l-6 6`
          })
        )
    ])
    const described = names
      .map(
        (name) =>
          `${name} ${millis(series.get(name).points.findLast(({ failure }) => failure === undefined)?.[measure])}`
      )
      .join(", ")
    container.replaceChildren(
      svg(
        "svg",
        {
          viewBox: `0 0 ${width} ${height}`,
          height,
          role: "img",
          "aria-label": `Latency by transport, last: ${described}`
        },
        ...grid,
        ...times,
        ...lanes,
        ...lines
      )
    )
  }

  const redraw = () => {
    if (!asked) {
      asked = true
      requestAnimationFrame(draw)
    }
  }

  // What was drawn moves on, whether or not there is news.
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches
  setInterval(redraw, calm ? 2000 : 250)
  new ResizeObserver(redraw).observe(container)
  container.append(h("p", { class: "quiet" }, "The first echo is on its way."))
  return {
    measure: (name) => {
      measure = name
      redraw()
    }
  }
}
