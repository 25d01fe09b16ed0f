using System.Globalization;
using Dynamo.Vllm.Engine;

namespace Dynamo.Vllm.Worker.StartUp;

/// <summary>Numbers of a start, in words.</summary>
internal static class StartTexts
{
    private const double Mebibyte = 1 << 20;

    /// <summary>What is read meanwhile anyway: programs and libraries.</summary>
    private const long BytesReadMin = 1 << 20;

    public static string Fetched(FetchProgress fetched) =>
        string.Create(
            CultureInfo.InvariantCulture,
            $"{fetched.FilesDone} of {fetched.Files} files, {fetched.BytesDone / Mebibyte:F1} of {fetched.Bytes / Mebibyte:F1} MiB"
        );

    /// <summary>Null where there is nothing to say.</summary>
    /// <param name="bar">How far vLLM's own progress bar is.</param>
    /// <param name="checkpoint">Size of the checkpoint.</param>
    /// <param name="read">Bytes that came from disks.</param>
    public static string? Load(string? bar, long? checkpoint, long? read)
    {
        var parts = new List<string>();
        if (bar is not null)
        {
            parts.Add(bar);
        }

        if (checkpoint is { } all)
        {
            parts.Add(string.Create(CultureInfo.InvariantCulture, $"a checkpoint of {all / Mebibyte:F1} MiB"));
        }

        if (read is >= BytesReadMin and var bytes)
        {
            parts.Add(string.Create(CultureInfo.InvariantCulture, $"{bytes / Mebibyte:F1} MiB read from disks"));
        }

        return parts.Count > 0 ? string.Join(", ", parts) : null;
    }
}
