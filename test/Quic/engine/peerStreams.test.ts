import { expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import * as PeerStreams from "../../../src/Quic/engine/peerStreams.js"

it("each stream is new once, in whatever order they come, and nothing is kept of those that have come", () => {
  FastCheck.assert(
    FastCheck.property(
      FastCheck.shuffledSubarray(
        Array.from({ length: 40 }, (_, i) => 1 + 4 * i),
        { minLength: 1 }
      ),
      (ids) => {
        const streams = PeerStreams.make(1)
        for (const [at, id] of ids.entries()) {
          expect(PeerStreams.isNew(streams, id)).toBe(true)
          expect(ids.slice(0, at + 1).map((each) => PeerStreams.isNew(streams, each))).not.toContain(true)
        }
        const last = Math.max(...ids)
        expect(streams.next).toBe(last + 4)
        expect(streams.gaps.size).toBe((last - 1) / 4 + 1 - ids.length)
      }
    )
  )
})
