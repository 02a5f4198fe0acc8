/** HPACK against python3-hpack, the codec of python3-h2, in both directions. */
import { spawnSync } from "node:child_process"
import { describe, expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import type { Fields } from "../../../src/protocol/Fields.js"
import * as Encoder from "../../../src/protocol/http2/HpackEncoder.js"
import { hpackTable } from "../../../src/protocol/http2/HpackTable.js"
import {
  arbitraryField,
  arbitraryTableSize,
  decodeSection,
  encode,
  fromHex,
  makeDecoder,
  toHex
} from "./hpackSupport.js"

/**
 * Reads runs as JSON. Those of blocks it decodes, those of fields it encodes, by one codec for each run. A number is the size of
 * the table that the settings say.
 */
const program = `
import json, sys
from hpack import Decoder, Encoder
from hpack.table import HeaderTable

def text(value):
    return value.decode("latin-1")

def decode(steps):
    decoder = Decoder(max_header_list_size=2**30)
    for step in steps:
        if isinstance(step, int):
            decoder.max_allowed_table_size = step
        else:
            fields = decoder.decode(bytes.fromhex(step), raw=True)
            yield [[text(name), text(value)] for name, value in fields]

def encode(steps):
    encoder = Encoder()
    for step in steps:
        if isinstance(step, int):
            encoder.header_table_size = step
        else:
            fields = [(n.encode("latin-1"), v.encode("latin-1"), len(v) % 5 == 4) for n, v in step["fields"]]
            yield encoder.encode(fields, huffman=step["huffman"]).hex()

runs = json.load(sys.stdin)
json.dump({
    "table": [[text(name), text(value)] for name, value in HeaderTable.STATIC_TABLE],
    "decoded": [list(decode(steps)) for steps in runs["blocks"]],
    "encoded": [list(encode(steps)) for steps in runs["fields"]],
}, sys.stdout)
`

/** Debian's own, where another one comes first. */
const python = ["/usr/bin/python3", "python3"].find(
  (command) => spawnSync(command, ["-c", "import hpack"]).status === 0
)

type Step = number | Fields

const sample = (): ReadonlyArray<ReadonlyArray<Step>> => {
  const step = FastCheck.oneof(
    { weight: 8, arbitrary: FastCheck.array(FastCheck.nat(7), { maxLength: 8 }) },
    { weight: 1, arbitrary: arbitraryTableSize }
  )
  const run = FastCheck.tuple(
    FastCheck.array(arbitraryField, { minLength: 8, maxLength: 8 }),
    FastCheck.array(step, { minLength: 20, maxLength: 30 })
  ).map(([pool, steps]) =>
    steps.map((step) => (typeof step === "number" ? step : step.flatMap((index) => pool.slice(index, index + 1))))
  )
  return FastCheck.sample(run, 200)
}

const isFields = (step: Step): step is Fields => typeof step !== "number"

/** Without sizes that change before a block: where they do, the peer's encoder says all of them, also those that are over. */
const withLastSizes = (steps: ReadonlyArray<Step>): ReadonlyArray<Step> =>
  steps.filter((step, i) => isFields(step) || typeof steps[i + 1] !== "number")

const title = "python3-hpack"

const describePeer = (body: (command: string) => void) =>
  python === undefined
    ? describe.skip(`${title} (skipped: it is not installed)`, () => body(""))
    : describe(title, () => body(python))

describePeer((command) => {
  it("decodes what is encoded here, and what it encodes is decoded here", () => {
    const runs = sample()
    const blocks = runs.map((steps) => {
      const encoder = Encoder.make({ maxTableSize: 8192 })
      return steps.map((step) => {
        if (isFields(step)) {
          return toHex(encode(encoder, step.slice(2), encoder.makeHead(step.slice(0, 2))))
        }
        encoder.setMaxTableSize(step)
        return step
      })
    })
    const fields = runs.map((steps, run) =>
      withLastSizes(steps).map((step) => (isFields(step) ? { fields: step, huffman: run % 2 === 0 } : step))
    )
    const { status, stderr, stdout } = spawnSync(command, ["-c", program], {
      input: JSON.stringify({ blocks, fields }),
      maxBuffer: 2 ** 28
    })
    expect([String(stderr), status]).toEqual(["", 0])
    const answer = JSON.parse(String(stdout))
    expect(answer.table).toEqual(hpackTable)
    expect(answer.decoded).toEqual(runs.map((steps) => steps.filter(isFields)))
    runs.forEach((steps, run) => {
      const decoder = makeDecoder()
      let block = 0
      for (const step of withLastSizes(steps)) {
        if (isFields(step)) {
          expect(decodeSection(decoder, fromHex(answer.encoded[run][block++])).fields).toEqual(step)
        } else {
          decoder.setMaxTableSize(step)
        }
      }
    })
  })
})
