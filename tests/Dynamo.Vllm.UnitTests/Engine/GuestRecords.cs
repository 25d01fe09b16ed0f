using System.Text;
using Dynamo.Vllm.Core.Engines;
using Dynamo.Vllm.Engine.Guest;

namespace Dynamo.Vllm.UnitTests.Engine;

/// <summary>Writes records as wire.py does.</summary>
internal static class GuestRecords
{
    public static byte[] Tokens(
        ulong stream,
        int[] tokens,
        FinishReason finish = FinishReason.None,
        bool isLast = false,
        int index = 0,
        int prompt = TokensRecord.AsBefore,
        int cached = TokensRecord.AsBefore,
        string? extras = null,
        (int Id, int Rank, double Logprob)[][]? candidates = null,
        string? text = null
    ) =>
        Write(writer =>
        {
            var flags = isLast ? TokensFlags.Finished : TokensFlags.None;
            flags |= extras is null ? TokensFlags.None : TokensFlags.Extras;
            flags |= candidates is null ? TokensFlags.None : TokensFlags.Logprobs;
            flags |= text is null ? TokensFlags.None : TokensFlags.Text;
            writer.Write((byte)GuestRecordKind.Tokens);
            writer.Write((byte)flags);
            writer.Write((byte)finish);
            writer.Write((byte)0);
            writer.Write(index);
            writer.Write(stream);
            writer.Write(prompt);
            writer.Write(cached);
            writer.Write(tokens.Length);
            Array.ForEach(tokens, writer.Write);
            foreach (var list in candidates ?? [])
            {
                writer.Write(list.Length);
                foreach (var (id, rank, logprob) in list)
                {
                    writer.Write(id);
                    writer.Write(rank);
                    writer.Write(logprob);
                }
            }

            if (extras is not null)
            {
                Text(writer, extras);
            }

            if (text is not null)
            {
                Text(writer, text);
            }
        });

    public static byte[] Step(params (ulong Stream, int Token)[] tokens) =>
        Write(writer =>
        {
            writer.Write((uint)GuestRecordKind.Step);
            writer.Write(tokens.Length);
            Array.ForEach(tokens, token => writer.Write(token.Stream));
            Array.ForEach(tokens, token => writer.Write(token.Token));
        });

    public static byte[] Vectors(ulong request, long promptTokens, params float[][] vectors) =>
        Write(writer =>
        {
            writer.Write((uint)GuestRecordKind.Vectors);
            writer.Write(vectors.Length);
            writer.Write(request);
            writer.Write(promptTokens);
            Array.ForEach(vectors, vector => writer.Write(vector.Length * sizeof(float)));
            Array.ForEach(vectors, _ => writer.Write(-1));
            Array.ForEach(vectors, vector => Array.ForEach(vector, writer.Write));
        });

    public static byte[] Failure(ulong id, string json) => Answer(GuestRecordKind.Failure, id, isOk: false, json);

    public static byte[] Reply(ulong id, bool isOk, string json) => Answer(GuestRecordKind.Reply, id, isOk, json);

    public static byte[] Stats(int rank, double usage, int running, int waiting, double sampledAt = 0) =>
        Write(writer =>
        {
            writer.Write((uint)GuestRecordKind.Stats);
            writer.Write(rank);
            writer.Write(sampledAt);
            writer.Write(usage);
            writer.Write(running);
            writer.Write(waiting);
        });

    public static byte[] Progress(int filesDone, int files, long bytesDone, long bytes) =>
        Write(writer =>
        {
            writer.Write((ulong)GuestRecordKind.Progress);
            writer.Write(filesDone);
            writer.Write(files);
            writer.Write(bytesDone);
            writer.Write(bytes);
        });

    private static byte[] Answer(GuestRecordKind kind, ulong id, bool isOk, string json) =>
        Write(writer =>
        {
            writer.Write((byte)kind);
            writer.Write(id);
            writer.Write(isOk);
            Text(writer, json);
        });

    private static void Text(BinaryWriter writer, string text)
    {
        var utf8 = Encoding.UTF8.GetBytes(text);
        writer.Write(utf8.Length);
        writer.Write(utf8);
    }

    private static byte[] Write(Action<BinaryWriter> write)
    {
        using var stream = new MemoryStream();
        using var writer = new BinaryWriter(stream);
        write(writer);
        return stream.ToArray();
    }
}
