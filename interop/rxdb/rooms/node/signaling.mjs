// RxDB's own signaling server, on the port given as an argument. Says when it listens, and ends with its input.
import process from 'node:process';
import { startSignalingServerSimplePeer } from 'rxdb/plugins/replication-webrtc';

process.stdin.on('close', () => process.exit(0)).resume();
await startSignalingServerSimplePeer({ port: Number(process.argv[2]) });
process.stdout.write('listening\n');
