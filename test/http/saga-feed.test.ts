import { expect, test } from '@jest/globals'
import { pino } from 'pino'
import { Changes, SagaFeed } from '../../src/http/saga-feed.js'

// It connects to nothing until it is started.
const feed = new SagaFeed('', pino({ enabled: false }))

test('whoever leaves twice, as at the end of a stream whose reader has gone, takes nobody along who came meanwhile', () => {
  const left = new Changes(feed, 'a')
  left.close()
  const stays = new Changes(feed, 'a')
  left.close()
  expect(feed.watchers.size).toBe(1)
  stays.close()
  expect(feed.watchers.size).toBe(0)
})
