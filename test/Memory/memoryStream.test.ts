import { expect, it } from "@effect/vitest"
import * as MemoryStream from "../../src/Memory/internal/memoryStream.js"

it("a sender goes on at once while fewer than 16 messages are unread, and then once some have been read", () => {
  const direction: MemoryStream.Direction = { unread: 0, sent: undefined }
  let sent = 0
  const send = () => {
    direction.unread += 1
    direction.sent = () => {
      sent += 1
    }
    MemoryStream.release(direction, 0)
  }
  for (let i = 0; i < 15; i++) {
    send()
  }
  expect(sent).toBe(15)
  send()
  expect(sent).toBe(15)
  MemoryStream.release(direction, 3)
  expect(sent).toBe(16)
  MemoryStream.release(direction, 13)
  expect(sent).toBe(16)
})
