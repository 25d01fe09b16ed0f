using System.IO.Compression;

namespace Dynamo.Vllm.Testing;

/// <summary>Lines of a compressed text that somebody may still be writing.</summary>
public static class GzipLines
{
    public static IReadOnlyList<string> Read(string path)
    {
        using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        using var reader = new StreamReader(new GZipStream(file, CompressionMode.Decompress));
        var lines = new List<string>();
        while (reader.ReadLine() is { } line)
        {
            lines.Add(line);
        }

        return lines;
    }
}
