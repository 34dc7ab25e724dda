/** Turns results into tables and charts, and puts the tables where `docs/benchmarks.md` has room for them. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import type { Row } from '../http/measure.ts'
import type { StoreName } from '../http/stores.ts'
import type { Results } from '../run.ts'
import { aimsTable } from './aims.ts'
import { barChart, lineChart } from './chart.ts'
import {
  costTables,
  memoryTable,
  microTable,
  nearTable,
  rateTables,
  redisTable,
  startTable,
  table,
} from './markdown.ts'

/** The tables, by the name of the place they are for. */
export function tablesOf(results: Partial<Results>): Record<string, string> {
  const { machine, http, micro, near, memory, start } = results
  return {
    ...(machine && { machine: table(Object.keys(machine), [Object.values(machine).map(String)]) }),
    ...(http && { cost: costTables(http), rate: rateTables(http), redis: redisTable(http) }),
    ...(micro && { micro: microTable(micro) }),
    ...(near && { near: nearTable(near) }),
    ...(memory && { memory: memoryTable(memory) }),
    ...(start && { start: startTable(start) }),
    ...(isWhole(results) && { aims: aimsTable(results) }),
  }
}

/** Whether all parts were measured, and no selection of them. */
function isWhole(results: Partial<Results>): results is Results {
  const { http, micro, near, memory, start } = results
  const has = (setup: string, store: StoreName): boolean =>
    http?.some((row) => row.setup === setup && row.store === store && row.case === 'bad') ?? false
  return (
    (['memory', 'redis', 'sqlite'] as const).every((store) =>
      ['floor', 'holdfast/node', 'holdfast/express', 'express-session'].every((name) => has(name, store)),
    ) && [micro, near, memory, start].every((part) => part !== undefined)
  )
}

/** The charts, by file name. */
export function chartsOf({ http, growth }: Partial<Results>): Record<string, string> {
  const charts: Record<string, string> = {}
  for (const store of new Set(http?.map(({ store }) => store)))
    charts[`cost-${store}.svg`] = costChart(store, http!)
  for (const { along, unit, points } of growth ?? []) {
    const names = Object.keys(points[0]!.costs)
    charts[`growth-${along}.svg`] = lineChart({
      title: `CPU time a request, by ${unit}`,
      x: { label: unit, values: points.map(({ value }) => value) },
      yLabel: 'µs',
      series: names.map((name) => ({ name, values: points.map(({ costs }) => costs[name]!) })),
    })
  }
  return charts
}

function costChart(store: StoreName, rows: readonly Row[]): string {
  const shown = rows.filter((row) => row.store === store && row.bytes === rows[0]!.bytes)
  const setups = [...new Set(shown.map(({ setup }) => setup))]
  const valueOf = (setup: string, what: string): number =>
    shown.find((row) => row.setup === setup && row.case === what)?.added.median ?? 0
  return barChart({
    title: `CPU time added to the bare handler of its framework, µs (${store}, 1 KB)`,
    series: ['read', 'write'],
    rows: setups.map((name) => ({ name, values: [valueOf(name, 'read'), valueOf(name, 'write')] })),
  })
}

/** Writes the charts beside the results, and the tables into the page, between `<!-- bench:name -->` and `<!-- /bench -->`. */
export function publish(results: Partial<Results>, folder: string, page: string | null): void {
  for (const [file, svg] of Object.entries(chartsOf(results))) writeFileSync(join(folder, file), svg)
  const tables = tablesOf(results)
  const all = Object.entries(tables).map(([name, text]) => `## ${name}\n\n${text}\n`)
  writeFileSync(join(folder, 'tables.md'), all.join('\n'))
  if (page === null || !existsSync(page)) return
  let text = readFileSync(page, 'utf8')
  for (const [name, table] of Object.entries(tables))
    text = text.replace(
      new RegExp(`(<!-- bench:${name} -->\n)[^]*?(\n<!-- /bench -->)`),
      (_, before: string, after: string) => `${before}\n${table}\n${after}`,
    )
  writeFileSync(page, text)
}
