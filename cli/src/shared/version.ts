/** The version of this package. */
import { readFileSync } from "node:fs"

const { version: own }: { readonly version: string } = JSON.parse(
  readFileSync(new URL("../../package.json", import.meta.url), "utf8")
)

/** As in package.json, which stands two folders above this file in the source and when it is built. */
export const version: string = own
