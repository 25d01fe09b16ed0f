using System.Text;
using Dynamo.Vllm.Transports.Etcd.Wire;
using Google.Protobuf;

namespace Dynamo.Vllm.Transports.Etcd;

/// <summary>The transactions on one record (discovery.md, 3).</summary>
internal static class EtcdRecords
{
    /// <summary>A record that somebody else changes between our read and our write this often is not ours.</summary>
    private const int TriesMax = 8;

    /// <summary>Creates the record, or replaces it if it has not changed since it was read.</summary>
    public static async Task PutAsync(EtcdClient client, string name, ByteString value, long lease, CancellationToken cancellationToken)
    {
        var key = ByteString.CopyFromUtf8(name);
        var put = new RequestOp
        {
            RequestPut = new PutRequest
            {
                Key = key,
                Value = value,
                Lease = lease,
            },
        };
        var get = new RequestOp { RequestRange = new RangeRequest { Key = key } };
        var condition = new Compare
        {
            Key = key,
            Target = Compare.Types.CompareTarget.Version,
            Version = 0,
        };
        for (var tries = 0; tries < TriesMax; tries++)
        {
            var transaction = new TxnRequest
            {
                Compare = { condition },
                Success = { put },
                Failure = { get },
            };
            var answer = await client
                .CallAsync((invoker, call) => new KV.KVClient(invoker).TxnAsync(transaction, call), cancellationToken)
                .ConfigureAwait(false);
            if (answer.Succeeded)
            {
                return;
            }

            var stored = answer.Responses[0].ResponseRange.Kvs.FirstOrDefault();
            if (stored is not null && stored.Value.Equals(value) && stored.Lease == lease)
            {
                return; // also the fate of a write whose answer was lost and that is tried again
            }

            condition = new Compare
            {
                Key = key,
                Target = Compare.Types.CompareTarget.Mod,
                ModRevision = stored?.ModRevision ?? 0,
            };
        }

        throw new IOException($"etcd: {name} is changed by somebody else all the time ({TriesMax} tries)");
    }

    /// <summary>Values of all keys that begin with the prefix.</summary>
    public static async Task<IReadOnlyList<ByteString>> ListAsync(EtcdClient client, string prefix, CancellationToken cancellationToken)
    {
        var key = Encoding.UTF8.GetBytes(prefix);
        var end = key.ToArray();
        end[^1]++; // prefixes of ours end with a character below 0xff
        var range = new RangeRequest { Key = ByteString.CopyFrom(key), RangeEnd = ByteString.CopyFrom(end) };
        var answer = await client
            .CallAsync((invoker, call) => new KV.KVClient(invoker).RangeAsync(range, call), cancellationToken)
            .ConfigureAwait(false);
        return [.. answer.Kvs.Select(pair => pair.Value)];
    }

    public static Task DeleteAsync(EtcdClient client, string name, CancellationToken cancellationToken) =>
        client.CallAsync(
            (invoker, call) =>
                new KV.KVClient(invoker).DeleteRangeAsync(new DeleteRangeRequest { Key = ByteString.CopyFromUtf8(name) }, call),
            cancellationToken
        );
}
