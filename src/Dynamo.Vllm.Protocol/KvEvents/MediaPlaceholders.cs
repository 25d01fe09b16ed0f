namespace Dynamo.Vllm.Protocol.KvEvents;

/// <summary>Placeholder tokens of images and videos, and how the hash of a block with media is made from them.</summary>
/// <remarks>
/// With an image token, each run of it is replaced by the pad value of the next object. With a video token the runs must match the objects
/// exactly: an image run is one object, video runs without an image run between them are one. Where nothing is replaced, the objects'
/// hashes are appended instead. kv-and-load.md, 3. Golden file: tests/golden/kv/conversion-cases-multimodal.json.
/// </remarks>
public sealed class MediaPlaceholders
{
    /// <summary>Hex digits of an identifier that the frontend made: 16 of the hash, then zeros.</summary>
    private const int IdentifierDigits = 64;

    private const int HashDigits = 16;

    private readonly uint? _image;
    private readonly uint? _video;

    public MediaPlaceholders(uint? imageToken, uint? videoToken)
    {
        _image = imageToken;
        _video = videoToken;
    }

    /// <summary>The token that stands for an object when a block is hashed.</summary>
    public static uint PadValue(ulong mediaHash) => 1_000_000 + (uint)(mediaHash & ((1UL << 30) - 1));

    /// <summary>Reads an identifier that the frontend made. False for the engine's own hashes and for any other text.</summary>
    public static bool TryParseIdentifier(ReadOnlySpan<byte> text, out ulong mediaHash)
    {
        mediaHash = 0;
        if (text.Length != IdentifierDigits || text[HashDigits..].ContainsAnyExcept((byte)'0'))
        {
            return false;
        }

        return System.Buffers.Text.Utf8Parser.TryParse(text[..HashDigits], out mediaHash, out var consumed, 'x') && consumed == HashDigits;
    }

    public TokensHash Hash(ReadOnlySpan<uint> tokens, ReadOnlySpan<MediaObject> media, ulong seed)
    {
        if (media.IsEmpty || (_image is null && _video is null))
        {
            return BlockHasher.HashTokens(tokens, media, seed);
        }

        var padded = tokens.ToArray();
        return TryPad(padded, media) ? BlockHasher.HashTokens(padded, seed) : BlockHasher.HashTokens(tokens, media, seed);
    }

    private bool TryPad(Span<uint> tokens, ReadOnlySpan<MediaObject> media)
    {
        var objects = 0;
        var wasVideo = false;
        for (var i = 0; i < tokens.Length; )
        {
            var token = tokens[i];
            var isImage = token == _image;
            var isVideo = !isImage && token == _video;
            if (!isImage && !isVideo)
            {
                i++;
                continue;
            }

            if (isImage || !wasVideo)
            {
                objects++;
            }

            wasVideo = isVideo;
            var pad = PadValue(media[Math.Min(objects, media.Length) - 1].Hash);
            for (; i < tokens.Length && tokens[i] == token; i++)
            {
                // A pad may equal a placeholder only for absurd ids; the run is read before it is overwritten, so it still ends right.
                tokens[i] = pad;
            }
        }

        return _video is null ? objects > 0 : objects == media.Length;
    }
}
