/** Finds names and fields in the static tables of HPACK and QPACK. */
import type { Fields } from "./Fields.js"

/** Where a name stands in the table, first alone and then with each of its values. */
export interface Entry {
  readonly index: number
  readonly values: ReadonlyMap<string, number>
}

export type StaticTable = ReadonlyMap<string, Entry>

/** `first` is the index of the first field. */
export const make = (fields: Fields, first: number): StaticTable => {
  const table = new Map<string, { readonly index: number; readonly values: Map<string, number> }>()
  fields.forEach(([name, value], position) => {
    const index = first + position
    const entry = table.get(name) ?? { index, values: new Map<string, number>() }
    entry.values.set(value, index)
    table.set(name, entry)
  })
  return table
}
