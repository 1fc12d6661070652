// Sends with hot-shots the metrics that test_clients.py counts. Arguments: host, port, prefix.
const StatsD = require('hot-shots')
const [host, port, prefix] = process.argv.slice(2)
const client = new StatsD({
  host, port: Number(port), prefix: `${prefix}.`, maxBufferSize: 1000,
  errorHandler: (error) => { console.error(error); process.exit(1) },
})
for (let i = 0; i < 100; i++) {
  client.increment('count', 2, ['route:/cart', 'odd:ä b'])
  client.distribution('time', 0.25)
  client.timing('time', 0.75)
  client.set('users', `u${i % 7}`)
}
client.gauge('depth', 5)
client.gaugeDelta('depth', 3)
client.gaugeDelta('depth', -1)
client.event('deploy', 'is dropped')
client.close((error) => process.exit(error ? 1 : 0))
