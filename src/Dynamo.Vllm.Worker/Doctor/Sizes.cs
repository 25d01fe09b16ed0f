using System.Globalization;

namespace Dynamo.Vllm.Worker.Doctor;

/// <summary>Bytes for people.</summary>
internal static class Sizes
{
    public static string Text(long bytes) =>
        bytes >= 10L << 30
            ? string.Create(CultureInfo.InvariantCulture, $"{bytes >> 30} GiB")
            : string.Create(CultureInfo.InvariantCulture, $"{bytes / (double)(1 << 20):0.#} MiB");
}
