using System.Globalization;
using System.IO.Compression;

namespace Dynamo.Vllm.Worker.ForwardPasses;

/// <summary>Lines of JSON in compressed files, the oldest of which go.</summary>
/// <remarks>
/// Files are <c>{path}.{producer}.{number, six digits}.jsonl.gz</c>; an ending that the path has already is not doubled. Each flush adds
/// one whole gzip member, so that what is in a file can be read at any moment. What cannot be written is counted as lost and not tried
/// again, and the file is cut back to its last whole member. One caller; it waits for the disk.
/// </remarks>
internal sealed class PassTraceFiles
{
    /// <summary>Of lines that wait for a flush, before they are compressed.</summary>
    private const int MemberBytesMax = 1024 * 1024;

    private readonly string _path;
    private readonly string _producer;
    private readonly long _fileBytesMax;
    private readonly int _filesMax;
    private readonly MemoryStream _member = new();
    private int _number;
    private int _lines;
    private long _fileBytes;
    private long _bytesOnDisk;

    public PassTraceFiles(PassTraceOptions options, string producer)
    {
        _path = WithoutEnding(options.Path);
        _producer = producer;
        _fileBytesMax = options.FileBytesMax;
        _filesMax = options.FilesMax;
    }

    /// <summary>Lines that are in a file, or were until it went.</summary>
    public long Written { get; private set; }

    /// <summary>Lines that could not be written.</summary>
    public long Lost { get; private set; }

    /// <summary>Why the last flush failed; null if it did not.</summary>
    public string? Problem { get; private set; }

    /// <summary>Makes the folder, and tries whether a file can be written in it.</summary>
    /// <exception cref="IOException">It cannot.</exception>
    /// <exception cref="UnauthorizedAccessException">It must not.</exception>
    public void Probe()
    {
        var folder = Path.GetDirectoryName(Path.GetFullPath(_path))!;
        Directory.CreateDirectory(folder);
        var name = string.Create(
            CultureInfo.InvariantCulture,
            $".{Path.GetFileName(_path)}.{_producer}.write-probe-{Environment.ProcessId}-0"
        );
        var probe = Path.Combine(folder, name);
        try
        {
            File.WriteAllText(probe, "probe");
        }
        finally
        {
            File.Delete(probe);
        }
    }

    /// <param name="line">With its line break.</param>
    public void Add(ReadOnlySpan<byte> line)
    {
        if (_fileBytes > 0 && _fileBytes + line.Length > _fileBytesMax)
        {
            Flush();
            BeginNext();
        }

        _member.Write(line);
        _lines++;
        _fileBytes += line.Length;
        if (_member.Length >= MemberBytesMax)
        {
            Flush();
        }
    }

    public void Flush()
    {
        if (_lines == 0)
        {
            return;
        }

        try
        {
            Append(Compress());
            Written += _lines;
            Problem = null;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            Lost += _lines;
            _fileBytes -= _member.Length;
            Problem = exception.Message;
        }

        _lines = 0;
        _member.SetLength(0);
    }

    private static string WithoutEnding(string path)
    {
        foreach (var ending in (ReadOnlySpan<string>)[".jsonl.gz", ".jsonl"])
        {
            if (path.EndsWith(ending, StringComparison.Ordinal))
            {
                return path[..^ending.Length];
            }
        }

        return path;
    }

    private string FileOf(int number) => string.Create(CultureInfo.InvariantCulture, $"{_path}.{_producer}.{number:D6}.jsonl.gz");

    private byte[] Compress()
    {
        using var compressed = new MemoryStream();
        using (var gzip = new GZipStream(compressed, CompressionLevel.Optimal, leaveOpen: true))
        {
            _member.WriteTo(gzip);
        }

        return compressed.ToArray();
    }

    private void Append(byte[] member)
    {
        // Opened for each flush: who removes the file while the worker runs gets a new one, and no descriptor is held.
        using var file = new FileStream(FileOf(_number), FileMode.OpenOrCreate, FileAccess.Write, FileShare.ReadWrite, bufferSize: 0);
        _bytesOnDisk = Math.Min(_bytesOnDisk, file.Length);
        file.Position = _bytesOnDisk;
        try
        {
            file.Write(member);
            _bytesOnDisk += member.Length;
        }
        catch (IOException)
        {
            file.SetLength(_bytesOnDisk);
            throw;
        }
    }

    private void BeginNext()
    {
        _number++;
        _fileBytes = 0;
        _bytesOnDisk = 0;
        if (_number < _filesMax)
        {
            return;
        }

        try
        {
            File.Delete(FileOf(_number - _filesMax));
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // Best-effort cleanup (style E3): the next lines matter more than the oldest.
            Problem = exception.Message;
        }
    }
}
