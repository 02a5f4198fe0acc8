import { expect, it } from "@effect/vitest"
import * as Phase from "../../../src/Quic/engine/connectionPhase.js"

it.each([
  [Phase.handshaking, false, false],
  [Phase.established, true, false],
  [Phase.accepted, true, true],
  [Phase.confirmed, true, true]
])("$_tag: established %s, open %s, and its end remembers the handshake", (phase, isEstablished, isOpen) => {
  expect([Phase.isEstablished(phase), Phase.isOpen(phase), Phase.isClosed(phase)]).toEqual([
    isEstablished,
    isOpen,
    false
  ])
  const closed = Phase.closed(phase, 7)
  for (const end of [closed, Phase.gone(phase), Phase.gone(closed)]) {
    expect([Phase.isEstablished(end), Phase.isOpen(end), Phase.isClosed(end)]).toEqual([isEstablished, false, true])
  }
})
