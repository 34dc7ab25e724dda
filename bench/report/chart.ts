/** Charts as SVG, without a library: horizontal bars, and lines on logarithmic axes. Readable on light and dark. */

const COLOURS = ['#0969da', '#bf8700', '#1a7f37', '#cf222e', '#8250df', '#57606a']
const STYLE = `<style>text{font:12px system-ui,sans-serif;fill:#6e7781}.title{font-size:14px;font-weight:600}.ours{font-weight:600}</style>`

export interface Bars {
  readonly title: string
  /** What the bars of each row are, in their order. */
  readonly series: readonly string[]
  readonly rows: readonly { readonly name: string; readonly values: readonly number[] }[]
}

export function barChart({ title, series, rows }: Bars): string {
  const [left, width, bar, gap] = [190, 480, 12, 10]
  const most = Math.max(1, ...rows.flatMap(({ values }) => values))
  const high = series.length * bar + gap
  const body = rows.flatMap(({ name, values }, row) => {
    const top = 56 + row * high
    const ours = name.startsWith('holdfast') ? ' class="ours"' : ''
    return [
      `<text x="${left - 8}" y="${top + (series.length * bar) / 2 + 4}" text-anchor="end"${ours}>${escape(name)}</text>`,
      ...values.flatMap((value, i) => {
        const length = (Math.max(0, value) / most) * width
        const y = top + i * bar
        return [
          `<rect x="${left}" y="${y}" width="${length.toFixed(1)}" height="${bar - 2}" fill="${COLOURS[i]}"/>`,
          `<text x="${(left + length + 5).toFixed(1)}" y="${y + 9}" style="font-size:10px">${short(value)}</text>`,
        ]
      }),
    ]
  })
  return svg(left + width + 60, 60 + rows.length * high, title, [...legend(series, left), ...body])
}

export interface Lines {
  readonly title: string
  readonly x: { readonly label: string; readonly values: readonly number[] }
  readonly yLabel: string
  readonly series: readonly { readonly name: string; readonly values: readonly number[] }[]
}

export function lineChart({ title, x, yLabel, series }: Lines): string {
  const [left, top, width, height] = [60, 64, 560, 260]
  const values = series.flatMap(({ values }) => values).filter((value) => value > 0)
  const scale = (low: number, high: number, from: number, to: number) => (value: number) =>
    from +
    ((Math.log(Math.max(value, low)) - Math.log(low)) / (Math.log(high) - Math.log(low) || 1)) * (to - from)
  const floor = 10 ** Math.floor(Math.log10(Math.min(...values)))
  const ceiling = 10 ** Math.ceil(Math.log10(Math.max(...values)))
  const toX = scale(x.values[0]!, x.values.at(-1)!, left, left + width)
  const toY = scale(floor, ceiling, top + height, top)
  const grid: string[] = []
  for (let value = floor; value <= ceiling * 1.01; value *= 10)
    grid.push(
      `<line x1="${left}" x2="${left + width}" y1="${toY(value)}" y2="${toY(value)}" stroke="#8884"/>`,
      `<text x="${left - 6}" y="${toY(value) + 4}" text-anchor="end">${short(value)}</text>`,
    )
  for (const value of x.values)
    grid.push(
      `<text x="${toX(value).toFixed(1)}" y="${top + height + 18}" text-anchor="middle">${short(value)}</text>`,
    )
  grid.push(
    `<text x="${left + width / 2}" y="${top + height + 36}" text-anchor="middle">${escape(x.label)}</text>`,
    `<text x="${left - 50}" y="${top - 10}">${escape(yLabel)}</text>`,
  )
  const lines = series.flatMap(({ values }, i) => {
    const points = values.map((value, at) => `${toX(x.values[at]!).toFixed(1)},${toY(value).toFixed(1)}`)
    const dots = points.map((point) => {
      const [cx, cy] = point.split(',')
      return `<circle cx="${cx}" cy="${cy}" r="2.5" fill="${COLOURS[i]}"/>`
    })
    return [
      `<polyline points="${points.join(' ')}" fill="none" stroke="${COLOURS[i]}" stroke-width="2"/>`,
      ...dots,
    ]
  })
  const names = series.map(({ name }) => name)
  return svg(left + width + 30, top + height + 50, title, [...legend(names, left), ...grid, ...lines])
}

function legend(names: readonly string[], left: number): string[] {
  let at = left
  return names.flatMap((name, i) => {
    const x = at
    at += 30 + name.length * 7
    return [
      `<rect x="${x}" y="34" width="10" height="10" fill="${COLOURS[i]}"/>`,
      `<text x="${x + 14}" y="43">${escape(name)}</text>`,
    ]
  })
}

function svg(width: number, height: number, title: string, body: readonly string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" role="img" aria-label="${escape(title)}">`,
    STYLE,
    `<text x="10" y="20" class="title">${escape(title)}</text>`,
    ...body,
    '</svg>\n',
  ].join('\n')
}

function short(value: number): string {
  if (Math.abs(value) >= 1e6) return `${+(value / 1e6).toFixed(1)}M`
  if (Math.abs(value) >= 1000) return `${+(value / 1000).toFixed(1)}k`
  return String(+value.toFixed(Math.abs(value) < 10 ? 1 : 0))
}

function escape(text: string): string {
  return text.replace(/[&<"]/g, (char) => ({ '&': '&amp;', '<': '&lt;', '"': '&quot;' })[char]!)
}
